"""A real Hermes Agent with a bug of its newest release: found, repaired, proven, swapped in place, and taken back."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.hermes import prepare
from examples.hermes.customers import Line
from examples.hermes.demo import HermesDemo
from moss.domain.events import Outcome
from moss.domain.ids import RunId
from moss.engine.journal import load

from .scene import HERE

pytestmark = [
    pytest.mark.needs("docker"),
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.xdist_group("docker"),
    pytest.mark.timeout(2400),
]
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def release() -> Path:
    """Needs the package index, the first time."""
    return prepare.prepare()


@pytest.fixture
def folder(tmp_path: Path, release: Path) -> Iterator[Path]:
    folder = tmp_path / uuid.uuid4().hex[:8]
    yield folder
    if folder.exists():
        assert told(folder, "--down").returncode == 0
    assert not docker("container", "ls", "-aq", "--filter", f"label=moss.dev/demo={folder}")
    assert not docker("volume", "ls", "-q", "--filter", f"name=hermes-{folder.name}-state")


def told(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-u", "-m", "examples.hermes.demo", "--folder", str(folder), *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def docker(*words: str) -> list[str]:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.split()


def test_the_stream_that_dies_behind_a_tools_name_is_mended_live_and_taken_back(folder: Path) -> None:
    done = told(folder)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["demo"], last["runs"], last["journal"]) == ("ok", {"ev-01": "committed"}, "whole")
    assert (last["refused"], last["lost"]) == (0, 0), "two people sent all the time"
    assert last["sent"] > 4
    assert last["works"], "the failing turn, with the fault, on the live agent"
    assert last["goes_on"], "in the conversation of before the swap"
    for words in (
        "tool-args-empty x3",
        "3 of 3 failures reproduce",
        "its own 435 tests pass",
        "CONVERGED: 3 of 3 fixed",
    ):
        assert words in done.stdout

    hermes = HermesDemo(folder)
    run = load(hermes.wired.store, RunId("ev-01"))
    assert run.outcome is Outcome.COMMITTED
    valid = [trial for trial in run.trials if trial.valid]
    fixed = {trial.case for trial in valid if trial.diverged_at is not None and trial.passed}
    assert fixed >= {*run.started.cases}, "the candidate asked again instead of running the tool"
    assert run.baseline is not None
    assert len(run.baseline.reproduced) == 3

    turns = len(hermes.turns("ann"))
    moss = [sys.executable, "-m", "moss.cli", "--home", str(folder), "rollback", "--because", "a test"]
    back = subprocess.run(moss, cwd=ROOT, capture_output=True, text=True, check=False)
    assert back.returncode == 0, back.stderr
    line: Line = hermes.line
    said = line.say("ann", "Please write the report on quinces")
    assert (said.status, hermes.written("quinces")) == (200, False), "the old version serves, with its bug"
    assert len(hermes.turns("ann")) == turns + 1, "and with all that was said"
