"""Kills at every moment of a small story: what they leave, who is killed, and what the harness finds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("payments.py")
MOMENTS = [f"{when} payer.{what}" for _ in range(3) for what in ("pay", "note") for when in ("before", "after")]


def ran(what: str, root: Path) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, str(PROGRAM), what, str(root)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def said(what: str, root: Path) -> Any:
    done = ran(what, root)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_a_story_that_looks_first_ends_the_same_after_a_kill_at_any_moment(tmp_path: Path) -> None:
    found = said("careful", tmp_path)
    assert found["moments"] == MOMENTS
    assert found["tried"] == len(MOMENTS)
    assert found["wrong"] == {}
    assert found["end"] == {"paid": ["rent", "light", "water"]}


def test_a_story_that_pays_twice_is_found_at_each_moment_where_it_does(tmp_path: Path) -> None:
    found = said("careless", tmp_path)
    twice = {
        f"{number} {name}" for number, name in enumerate(MOMENTS, 1) if name in ("after payer.pay", "before payer.note")
    }
    assert set(found["wrong"]) == twice
    assert found["wrong"]["2 after payer.pay"] == {
        "paid": [["rent", "light", "water"], ["rent", "rent", "light", "water"]]
    }


def test_each_kill_ends_a_process_leaves_what_was_done_and_the_play_goes_on_untouched(tmp_path: Path) -> None:
    seen, paid, stood = said("left", tmp_path)
    assert [(number, name) for number, name, _ in seen] == [(n, m) for n, m in enumerate(MOMENTS, 1) if n != 2]
    assert [count for *_, count in seen] == [0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]
    assert [name for name, _ in paid] == ["rent", "light", "water"]
    # each payment was made by another process: the one before it was killed meanwhile
    assert len({process for _, process in paid}) == 3
    assert stood >= 0.01 * 10


def test_a_play_that_raises_is_not_taken_for_one_that_came_to_its_end(tmp_path: Path) -> None:
    done = ran("fails", tmp_path)
    assert done.returncode == 1
    assert "ValueError: this went wrong" in done.stderr
    assert "the play failed with status 256" in done.stderr
