"""Real processes on one store: killed at any moment, and two that want the same run."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from moss.adapters.stores.sql import SqlStore
from moss.domain.ids import RunId
from moss.testing.clock import ManualClock
from moss.testing.conformance.store import RUN

WRITER = str(Path(__file__).with_name("writer.py"))


def start(home: Path, owner: str, peak: int) -> "subprocess.Popen[str]":
    argv = [sys.executable, WRITER, str(home), owner, RUN, str(peak)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def lines(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stdout is not None
    with process.stdout:
        return process.stdout.read().split("\n")[:-1]


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 7, 30])
def test_what_append_returned_outlives_a_kill_and_a_successor_goes_on(home: Path, after: int) -> None:
    victim = start(home, "victim", 1_000_000)
    assert victim.stdout is not None
    promised = 0
    while promised < after:
        words = victim.stdout.readline().split()
        promised = int(words[0]) if words[0].isdigit() else promised
    victim.kill()
    rest = [int(line) for line in lines(victim) if line.isdigit()]
    victim.wait()
    promised = max([promised, *rest])
    heir = start(home, "heir", promised + 20)
    assert lines(heir)[0] == "claimed heir"
    assert heir.wait() == 0
    with SqlStore.open(home, ManualClock()) as store:
        entries = store.entries(RUN)
        assert [entry.seq for entry in entries] == list(range(1, promised + 21))
        assert all(entry.event["by"] == "victim" for entry in entries[:promised])
        assert store.verify() is None


@pytest.mark.slow
def test_of_two_processes_that_want_a_run_one_acts_at_a_time(home: Path) -> None:
    with SqlStore.open(home, ManualClock()):
        pass
    pair = [start(home, owner, 60) for owner in ("a", "b")]
    said = [lines(process) for process in pair]
    assert [process.wait() for process in pair] == [0, 0]
    seqs = [[int(line) for line in one if line.isdigit()] for one in said]
    assert sorted(seqs[0] + seqs[1]) == list(range(1, 61))
    with SqlStore.open(home, ManualClock()) as store:
        assert store.verify() is None
        owners = [entry.event["by"] for entry in store.entries(RUN)]
        changes = sum(first != second for first, second in pairwise(owners))
        assert changes <= 1, "the run went from one to the other and back: two acted at once"
        assert store.claim(RunId(RUN), "c", 1) is not None
