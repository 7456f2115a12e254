"""Owns one operating-system process of the agent: made, found again, watched, ended with its whole session.

Never decides whether it should run. Invariant: `Life.end` leaves no process of its session and nobody on the lock.
"""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from moss.daemon import lock

KILL_SECONDS = 5.0
NOT_STARTED = 127
"""as a shell says of a program that cannot be run"""


class Life:
    """One process. `child` is None for one that an earlier supervisor made: its exit code cannot be known."""

    def __init__(self, pid: int, pidfd: int, lock_path: Path, child: "subprocess.Popen[bytes] | None") -> None:
        self.pid = pid
        self._pidfd, self._lock_path, self._child = pidfd, lock_path, child

    def wait(self, seconds: float | None) -> bool:
        """Whether it ended, at most `seconds` from now. Any number of threads may wait."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    def end(self, grace: float) -> int | None:
        """SIGTERM, after `grace` seconds SIGKILL; then all that it left behind. Its exit code."""
        if not self.wait(0):
            self._signal(signal.SIGTERM)
            if not self.wait(grace):
                self._signal(signal.SIGKILL)
                self.wait(KILL_SECONDS)
        return self.sweep()

    def sweep(self) -> int | None:
        """After it ended: kills what is left of its session and whoever still holds the lock. Its exit code."""
        clear(self.pid, self._lock_path)
        return self._code()

    def close(self) -> None:
        os.close(self._pidfd)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def _code(self) -> int | None:
        code = self._child.poll() if self._child is not None else None
        return 128 - code if code is not None and code < 0 else code


def make(argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: int, held: int, lock_path: Path) -> Life:
    """A process in a session of its own that holds the lock `held`. Raises: OSError when it cannot be run."""
    child = subprocess.Popen(
        argv,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        pass_fds=[held],
    )
    return Life(child.pid, os.pidfd_open(child.pid), lock_path, child)


def found(pid: int, born: int, lock_path: Path) -> Life | None:
    """The process that was `pid` since `born`, None when it has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    life = Life(pid, pidfd, lock_path, None)
    if born_at(pid) == born and not life.wait(0):
        return life
    life.close()
    return None


def clear(leader: int | None, lock_path: Path) -> None:
    """Kills what is left of a session and whoever holds the lock: only an agent and its children inherit it.
    Without a leader: the lock's holders only.

    Raises: ValueError for a leader that no agent can be. Session 0 is everybody who came in from outside this
    process namespace (`docker exec`, a terminal of the host): never ours.
    """
    if leader is not None and leader <= 1:
        raise ValueError(f"no agent leads session {leader}")
    ends = time.monotonic() + KILL_SECONDS
    while (left := _left(leader, lock_path)) and time.monotonic() < ends:
        for pid in left - {os.getpid()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _left(leader: int | None, lock_path: Path) -> frozenset[int]:
    return lock.holders(lock_path) | (_session(leader) if leader is not None else frozenset())


def born_at(pid: int) -> int | None:
    """The kernel's start time of a process in ticks since the machine's start, None when it is gone."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def leader_of(pids: frozenset[int]) -> int | None:
    """The one among them that leads its session: the agent itself, not a child that inherited from it."""
    return next((pid for pid in sorted(pids) if _session_of(pid) == pid), None)


def _session(leader: int) -> frozenset[int]:
    """Living processes of the session that `leader` leads or led."""
    return frozenset(pid for pid in _living() if _session_of(pid) == leader)


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _living() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))) and fields[0] not in ("Z", "X"):
            yield int(name)


def _stat(pid: int) -> list[str]:
    """The fields after the program's name, which may itself hold blanks and brackets (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text[text.rfind(")") + 2 :].split()
