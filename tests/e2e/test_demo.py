"""The demo as a person runs it: interrupted, killed at any moment and run again, it ends as it should."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .scene import HERE, left_of, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]
KILLS = 3


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "demo"
    with run(tmp_path / "demo", "--down") as down:
        assert down.wait(60) == 0
    wait_until(lambda: not left_of(tmp_path), 10)
    assert not (tmp_path / "demo").exists()


def run(folder: Path, *words: str) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-u", "-m", "examples.clerk.demo", "--folder", str(folder), *words]
    env = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    return subprocess.Popen(
        argv, cwd=HERE.parents[1], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until_line(demo: "subprocess.Popen[str]", word: str) -> None:
    """Reads what it prints up to a line with `word` in it."""
    assert demo.stdout is not None
    assert any(word in line for line in demo.stdout), f"it ended without {word}"


def test_interrupted_and_killed_it_goes_on_and_ends_the_same(folder: Path) -> None:
    with run(folder) as demo:
        until_line(demo, "baseline")
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "nothing is lost" in said
    seed = int(os.environ.get("MOSS_TEST_SEED") or random.randrange(1 << 32))
    print(f"seed {seed}")
    moments = random.Random(seed)
    for _ in range(KILLS):
        with run(folder) as demo:
            try:
                demo.communicate(timeout=moments.uniform(0.5, 9))
            except subprocess.TimeoutExpired:
                demo.kill()
                demo.communicate()
    with run(folder) as demo:
        shown, said = demo.communicate(timeout=400)
    print(shown, said)
    assert demo.returncode == 0
    last = json.loads(shown.splitlines()[-1])
    assert last["demo"] == "ok"
    assert last["runs"] == {"ev-01": "committed", "ev-02": "rolled_back"}
    assert (last["refused"], last["lost"], last["journal"]) == (0, 0, "whole")
    for word in ("scripted", "isolate nothing", "consent", "matrix", "CONVERGED", "rollback"):
        assert word in shown
