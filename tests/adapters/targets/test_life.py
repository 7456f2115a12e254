"""One process: found again only as itself, ended with all that it left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moss.adapters.targets.process import life
from moss.adapters.targets.process.life import Life
from moss.daemon import lock
from moss.testing.live_process import until

SLEEP = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
DEAF = (
    sys.executable,
    "-S",
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
)
PARENT = (
    sys.executable,
    "-S",
    "-c",
    "import subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
    "subprocess.Popen([sys.executable, '-S', '-c', 'import os, time; os.setsid(); time.sleep(600)'], close_fds=False)\n"
    "print('up', flush=True)\n"
    "time.sleep(600)",
)


class Place:
    """Where a process of the test is made."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock, self.output = folder, folder / "agent.lock", folder / "out"

    def make(self, argv: tuple[str, ...]) -> Life:
        held = lock.take(self.lock)
        assert held is not None
        log = os.open(self.output, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            return life.make(argv, {"A": "1"}, self.folder, log, held, self.lock)
        finally:
            os.close(log)
            os.close(held)

    def is_up(self) -> bool:
        return b"up" in self.output.read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for pid in lock.holders(made.lock):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("leader", [-1, 0, 1])
def test_sessions_that_no_agent_leads_are_never_cleared(place: Place, leader: int) -> None:
    with pytest.raises(ValueError, match="no agent leads"):
        life.clear(leader, place.lock)


def test_it_holds_the_lock_in_a_session_of_its_own_until_it_is_ended(place: Place) -> None:
    one = place.make(SLEEP)
    assert lock.take(place.lock) is None
    assert lock.holders(place.lock) == {one.pid}
    assert os.getsid(one.pid) == one.pid
    assert not one.wait(0)
    assert one.end(5.0) == 128 + signal.SIGTERM
    assert one.wait(0)
    assert lock.is_free(place.lock)
    one.close()


def test_one_that_ignores_sigterm_is_killed_after_its_grace(place: Place) -> None:
    one = place.make(DEAF)
    until(place.is_up)
    began = time.monotonic()
    assert one.end(0.2) == 128 + signal.SIGKILL
    assert time.monotonic() - began >= 0.2
    one.close()


def test_its_children_end_with_it_also_those_that_left_its_session(place: Place) -> None:
    one = place.make(PARENT)
    until(place.is_up)
    left = lock.holders(place.lock)
    assert len(left) == 2, "the child in a session of its own inherited the lock"
    assert life.leader_of(frozenset({one.pid})) == one.pid
    one.end(5.0)
    assert lock.is_free(place.lock)
    assert lock.holders(place.lock) == frozenset()
    one.close()


def test_an_exit_code_is_told_as_a_shell_would(place: Place) -> None:
    one = place.make((sys.executable, "-S", "-c", "raise SystemExit(41)"))
    assert one.wait(10.0)
    assert one.sweep() == 41
    one.close()


def test_it_is_found_again_by_pid_and_start_time_only(place: Place) -> None:
    one = place.make(SLEEP)
    born = life.born_at(one.pid)
    assert born is not None
    again = life.found(one.pid, born, place.lock)
    assert again is not None
    assert life.found(one.pid, born + 1, place.lock) is None
    assert life.found(1 << 30, born, place.lock) is None
    assert again.end(5.0) is None, "the code of somebody else's child cannot be known"
    assert one.sweep() == 128 + signal.SIGTERM
    assert life.found(one.pid, born, place.lock) is None
    assert life.born_at(one.pid) is None
    for each in (one, again):
        each.close()


def test_a_program_that_cannot_be_run_is_told_and_leaves_the_lock_free(place: Place) -> None:
    with pytest.raises(OSError, match="No such file"):
        place.make(("/nowhere/agent",))
    assert lock.is_free(place.lock)


def test_a_name_with_blanks_and_brackets_does_not_confuse_the_start_time(tmp_path: Path) -> None:
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to(sys.executable)
    with subprocess.Popen([str(odd), "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        until(lambda: b"input" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
        stat = Path(f"/proc/{process.pid}/stat").read_text()
        assert life.born_at(process.pid) == int(stat.rsplit(")", 1)[1].split()[19])
        process.communicate(b"\n")
