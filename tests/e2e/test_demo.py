"""The demo as a person runs it: interrupted, killed at any moment and run again, it ends as it should."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pace import at_most

from .scene import left_of, wait_until
from .tellings import killed_at_random, start, told_to_its_end

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]
DEMO = "examples.clerk.demo"
KILLS = 3
STORY = (
    "everything below is real except the model and the coding agent",
    "isolate nothing",
    "live agent",
    "23 turns served",
    "4 failures, 2 fingerprints: refund-twice x3, lost-order x1",
    "run ev-01",
    "baseline     3 of 3 failures reproduce",
    "locate       clerk/tools.py:",
    "plan         accepted in round 1",
    "round 1: rejected",
    "round 2: accepted",
    "build",
    "check",
    "trials       27 of 27 valid",
    "matrix       case",
    "6 guards",
    "verdict      CONVERGED: 3 of 3 fixed, 0 of 6 guards broken",
    "consent        wanted: moss approve ev-01",
    "preflight ok · held · stopped · snapshot · started · canary ok · released",
    "committed",
    "0 messages refused, 0 lost",
    "run ev-02",
    "verdict      CONVERGED",
    "exited 1",
    "restored, the old version serves",
    "0 messages refused, 0 lost",
    "Look around:",
)
LAST_WORDS = "clerk: the index of steady-"
"""how the candidate of the second story ends, in its own words"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "demo"
    with run(tmp_path / "demo", "--down") as down:
        assert down.wait(60) == 0
    wait_until(lambda: not left_of(tmp_path), 10)
    assert not (tmp_path / "demo").exists()


def run(folder: Path, *words: str) -> "subprocess.Popen[str]":
    return start(DEMO, folder, *words)


def until_line(demo: "subprocess.Popen[str]", word: str) -> None:
    """Reads what it prints up to a line with `word` in it."""
    assert demo.stdout is not None
    assert any(word in line for line in demo.stdout), f"it ended without {word}"


def told(folder: Path) -> tuple[int, str, dict[str, object]]:
    """Exit code, all that it printed, its last line."""
    with run(folder) as demo:
        shown, said = demo.communicate(timeout=400)
    assert said == ""
    return demo.returncode, shown, json.loads(shown.splitlines()[-1])


def test_it_tells_its_story_in_a_minute_and_once(folder: Path) -> None:
    """Fresh; then again, when it was done; then after its user took the good version back."""
    began = time.monotonic()
    code, shown, last = told(folder)
    assert time.monotonic() - began < at_most(30), "a minute, and half of one for the tests beside it"
    assert code == 0
    at = -1
    for words in STORY:
        assert (at := shown.find(words, at + 1)) >= 0, f"no {words!r} (in its place) in {shown}"
    assert last == {
        "demo": "ok", "runs": {"ev-01": "committed", "ev-02": "rolled_back"}, "refused": 0, "failed": 0, "lost": 0,
        "sent": last["sent"], "longest_wait": last["longest_wait"], "journal": "whole",
        "scripted": ["coder scripted", "model main"],
    }  # fmt: skip
    assert last["sent"] > 200  # type: ignore[operator]
    assert matrix_of(shown) == moss(folder, "matrix", "ev-01")[: len(matrix_of(shown))]
    assert f'last words "{LAST_WORDS}' in " ".join(shown.split())

    code, shown, last = told(folder)
    assert (code, last["demo"]) == (0, "ok")
    assert "already done" in shown
    assert "to start anew: make demo-down, then make demo" in shown
    assert "baseline" not in shown

    moss(folder, "rollback", "--yes")
    code, shown, last = told(folder)
    assert (code, last["demo"], last["runs"]) == (1, "failed", {"ev-01": "reverted", "ev-02": "rolled_back"})
    assert "ev-01 was taken back later with moss rollback" in shown
    assert "to start anew: make demo-down, then make demo" in shown
    assert last["because"] == ["ev-01 was taken back later with moss rollback: the clerk is again as it was before it."]


def moss(folder: Path, *words: str) -> list[str]:
    argv = [sys.executable, "-m", "moss.cli", "--home", str(folder), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()


def matrix_of(shown: str) -> list[str]:
    """The first matrix of the demo's screen, as it stands there."""
    lines = shown.splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("    matrix"))
    last = next(at for at, line in enumerate(lines) if line.startswith("    verdict"))
    return [line[17:] for line in lines[first:last]]


def test_interrupted_and_killed_it_goes_on_and_ends_the_same(folder: Path) -> None:
    with run(folder) as demo:
        until_line(demo, "baseline")
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "nothing is lost" in said
    killed_at_random(DEMO, folder, KILLS, within=9)
    shown = told_to_its_end(DEMO, folder, 400)
    for word in ("scripted", "isolate nothing", "consent", "matrix", "CONVERGED", "rollback"):
        assert word in shown
