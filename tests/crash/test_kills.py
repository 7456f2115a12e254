"""`kill -9` of a controller before and after every single effect: the end is the same as without the kill.

Each story runs in a program of its own (`stories.py`): one play in which a process is killed at every moment and its
twin goes on (`moss.testing.relay`), and from each home that was left, a controller started anew, two side by side. The
homes are in memory where the machine lets them: the store syncs there too, and need not wait for a disk.

What must be the same is all that `stories.tell` says: outcome, journal, chain, money, paid calls (each once), the live
version, its state and restart policy, every user's message, notices, the pool, leftovers.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pace import at_most

STORIES = Path(__file__).with_name("stories.py")
MEMORY = Path("/dev/shm")
FEWEST = {"committed": 490, "no_improvement": 430, "rolled_back": 100, "restored_from_the_snapshot": 112}
"""moments that a story has at least: fewer would mean that a port is no longer watched"""
CONVERGES = 10.0
"""seconds after which a controller that was started again is done with what was left of an open swap (design 10)"""


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[Path]:
    """A folder for homes, in memory where that can be."""
    with tempfile.TemporaryDirectory(prefix="moss-", dir=MEMORY if os.access(MEMORY, os.W_OK) else tmp_path) as root:
        yield Path(root)


def told(name: str, root: Path, *only: int) -> dict[str, Any]:
    words = [sys.executable, str(STORIES), name, str(root), *map(str, only)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=3500, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return dict(json.loads(ran.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list(FEWEST))
def test_a_kill_at_any_moment_ends_the_same(
    name: str, homes: Path, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said = told(name, homes)
    record_property("kill points", said["tried"])
    with capsys.disabled():
        print(f"\n{said['tried']} kill points in the story `{name}`, slowest restart {said['slowest']:.1f} s", end="")
    assert said["wrong"] == {}
    assert said["tried"] >= FEWEST[name]
    assert_end(said["end"], name)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_kill_at_each_kind_of_moment_in_a_process_as_it_is_in_production(homes: Path) -> None:
    """One with its pool of threads, that has played from the beginning: no twin."""
    moments = told("committed", homes / "all", 1)["moments"]
    kinds = {name: number for number, name in enumerate(moments, 1)}
    assert len(kinds) >= 50
    said = told("committed", homes / "some", *sorted(kinds.values()))
    assert said["tried"] == len(kinds)
    assert said["wrong"] == {}
    assert_end(said["end"], "committed")


def assert_end(end: dict[str, Any], name: str) -> None:
    """The plain end is the right one, so that `the same` means something."""
    assert end["outcome"] == ("rolled_back" if name == "restored_from_the_snapshot" else name)
    assert end["violations"] == ""
    assert end["chain"] == ""
    assert end["forgotten"] == []
    assert end["held"] is None
    assert end["policy"] == "always"
    assert all(times == 1 for _, times in end["paid"])
    assert end["boxes"] == end["work"] == []
    assert (end["lost"] > 0) == (name == "restored_from_the_snapshot")


@pytest.mark.slow
def test_two_moments_are_tried_when_two_are_wanted(homes: Path) -> None:
    said = told("rolled_back", homes, 1, 2)
    assert said["tried"] == 2
    assert said["wrong"] == {}
    assert_end(said["end"], "rolled_back")


@pytest.mark.slow
def test_an_open_swap_converges_within_ten_seconds_of_the_restart(homes: Path) -> None:
    moments = told("rolled_back", homes / "all", 1)["moments"]
    open_swap = [number for number, name in enumerate(moments, 1) if " target." in name][4:]
    said = told("rolled_back", homes / "some", *open_swap[::3])
    assert said["wrong"] == {}
    assert said["slowest"] < at_most(CONVERGES)
