"""`kill -9` of a controller before and after every single effect: the end is the same as without the kill.

Each story runs in a program of its own (`stories.py`), which forks a controller for every moment, two side by side.
What must be the same is all that `stories.tell` says: outcome, journal, chain, money, paid calls (each once), the live
version, its state and restart policy, every user's message, notices, the pool, leftovers.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STORIES = Path(__file__).with_name("stories.py")
FEWEST = {"committed": 490, "no_improvement": 250, "rolled_back": 100, "restored_from_the_snapshot": 112}
"""moments that a story has at least: fewer would mean that a port is no longer watched"""
CONVERGES = 10.0
"""seconds after which a controller that was started again is done with what was left of an open swap (design 10)"""


def told(name: str, root: Path, *only: int) -> dict[str, Any]:
    words = [sys.executable, str(STORIES), name, str(root), *map(str, only)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=3500, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return dict(json.loads(ran.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list(FEWEST))
def test_a_kill_at_any_moment_ends_the_same(
    name: str, tmp_path: Path, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said = told(name, tmp_path)
    record_property("kill points", said["tried"])
    with capsys.disabled():
        print(f"\n{said['tried']} kill points in the story `{name}`, slowest restart {said['slowest']:.1f} s", end="")
    assert said["wrong"] == {}
    assert said["tried"] >= FEWEST[name]
    assert_end(said["end"], name)


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


def test_the_harness_finds_what_a_kill_would_spoil(tmp_path: Path) -> None:
    """One moment of each kind is tried always, the others by `make test`."""
    said = told("rolled_back", tmp_path, 1, 2)
    assert said["tried"] == 2
    assert said["wrong"] == {}
    assert_end(said["end"], "rolled_back")


@pytest.mark.slow
def test_an_open_swap_converges_within_ten_seconds_of_the_restart(tmp_path: Path) -> None:
    moments = told("rolled_back", tmp_path / "all", 1)["moments"]
    open_swap = [number for number, name in enumerate(moments, 1) if " target." in name][4:]
    said = told("rolled_back", tmp_path / "some", *open_swap[::3])
    assert said["wrong"] == {}
    assert said["slowest"] < CONVERGES
