"""A log that two processes sieve gives what one gives, whatever becomes of the second one."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from moss.adapters.evidence import far
from moss.adapters.evidence.line import write_line
from moss.adapters.evidence.sieve import Line, Sieve, Spread
from moss.testing.conformance.evidence import said

STRIDE = 20_000


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """2000 turns, every hundredth a failure."""
    path = tmp_path / "log"
    path.write_bytes(b"".join(write_line(said("s1", n, failed=n % 100 == 0)) for n in range(1, 2001)))
    return path


def children() -> list[psutil.Process]:
    """The second processes of scans; whatever else this process started for other tests is left aside."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if far.__name__ in child.cmdline():
                found.append(child)
    return found


class Shared:
    """A log that is sieved by two processes, in small blocks."""

    def __init__(self, path: Path) -> None:
        self.file = os.open(path, os.O_RDONLY)
        self.spread = Spread(STRIDE)
        self.passes = far.blocks(Sieve((b'"error"',), 4096), self.file, 0, self.spread, large=1)
        self.lines: list[Line] = []
        self.turns = self.end = 0

    def take(self, most: int | None = None) -> "Shared":
        """Up to `most` blocks."""
        for passed in self.passes:
            assert passed.end > self.end, "each block once, in order"
            self.lines, self.end = self.lines + passed.lines, passed.end
            self.turns += passed.turns if passed.turns is not None else len(passed.lines)
            if most is not None and (most := most - 1) <= 0:
                break
        return self

    def failed(self) -> list[int]:
        return [json.loads(line.raw)["ordinal"] for line in self.lines if b'"error"' in line.raw]


@pytest.fixture
def shared(log: Path) -> Iterator[Shared]:
    made = Shared(log)
    yield made
    del made.passes
    os.close(made.file)
    assert not children()


def test_two_processes_give_what_one_gives(shared: Shared, log: Path) -> None:
    shared.take(1)
    assert len(children()) == 1, "the end of the log is another process's work meanwhile"
    shared.take()
    assert (shared.turns, shared.end) == (2000, log.stat().st_size)
    assert shared.failed() == list(range(100, 2001, 100))
    guards = len([line for line in shared.lines if b'"error"' not in line.raw])
    assert log.stat().st_size / STRIDE * 0.6 < guards <= log.stat().st_size / STRIDE + 2, "spread over both parts"
    data = log.read_bytes()
    assert all(data[line.at : line.at + line.size] == line.raw + b"\n" for line in shared.lines)


def test_a_second_process_that_is_killed_costs_nothing_but_time(shared: Shared, log: Path) -> None:
    shared.take(1)
    for child in children():
        os.kill(child.pid, signal.SIGKILL)
    shared.take()
    assert (shared.turns, shared.end) == (2000, log.stat().st_size)
    assert shared.failed() == list(range(100, 2001, 100))


def test_what_is_written_meanwhile_is_read_too(shared: Shared, log: Path) -> None:
    shared.take(1)
    with log.open("ab") as file:
        file.write(write_line(said("s1", 2001, failed=True)) + b'{"v":1,"half')
    shared.take()
    assert shared.turns == 2001
    assert shared.failed()[-2:] == [2000, 2001]
    assert log.read_bytes()[shared.end :] == b'{"v":1,"half'


def test_a_log_that_is_cut_meanwhile_is_read_as_far_as_it_goes(shared: Shared, log: Path) -> None:
    shared.take(1)
    whole, seen = log.read_bytes(), shared.end
    os.truncate(log, seen)
    shared.take()
    assert shared.end >= seen
    assert len(whole) > shared.end


def test_a_scan_that_is_left_in_the_middle_leaves_no_process(shared: Shared) -> None:
    shared.take(1)
    shared.passes = iter(())
    assert not children()
