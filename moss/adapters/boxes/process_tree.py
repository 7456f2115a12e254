"""Owns how the processes of a box are found and killed. Standard library only: the box's runner imports it.

Never kills by name, and never a process that it has not found below the box's runner or by the box's own mark.
Invariant: what `kill_all` returns without is gone, forkers and session escapees too.
"""

import os
import signal
import time
from collections.abc import Callable

MARK = "MOSS_BOX"
"""Environment variable that holds the box's folder: how processes are found whose runner was killed."""
PAGE = os.sysconf("SC_PAGE_SIZE")


def alive() -> set[int]:
    """All process ids of this machine that we may see."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and parent; None when it is gone. Source: proc(5); the name may hold blanks and brackets."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0].decode(), int(fields[1])


class Tree:
    """The descendants of this process, which is their subreaper: what daemonises becomes its child again.

    A look costs one listing of /proc: a process that was seen once is known to be ours or not for good.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self.members: set[int] = set()
        self._strangers: set[int] = set()

    def refresh(self) -> set[int]:
        now = alive()
        self.members &= now
        self._strangers &= now
        fresh = {pid: found[1] for pid in now - self.members - self._strangers if (found := _stat(pid))}
        fresh.pop(self._root, None)
        while ours := {pid for pid, parent in fresh.items() if parent == self._root or parent in self.members}:
            self.members |= ours
            for pid in ours:
                del fresh[pid]
        self._strangers |= fresh.keys()
        return self.members

    def rescan(self) -> set[int]:
        """As `refresh`, forgetting what was known: safe against a reused pid."""
        self.members, self._strangers = set(), set()
        return self.refresh()

    def memory(self, limit: int) -> int:
        """Bytes of memory in use. Shared pages are told apart only where the plain sum is over `limit`."""
        total = sum(_resident(pid) for pid in self.members)
        return total if total <= limit else sum(_proportional(pid) for pid in self.members)

    def kill_all(self, reap: Callable[[], object], seconds: float = 10.0) -> bool:
        """Ends all members, reaping as they die; False when some would not (stuck in the kernel)."""
        until = time.monotonic() + seconds
        _freeze(self)
        while members := running(self.rescan()):
            for pid in members:
                send(pid, signal.SIGKILL)
            reap()
            if time.monotonic() > until:
                return False
            time.sleep(0.001)
        reap()
        return True


def _freeze(tree: Tree) -> None:
    """Stops all members, until no new one shows up: so a fork bomb cannot outrun the kill."""
    stopped: set[int] = set()
    for _ in range(100):
        new = tree.rescan() - stopped
        if not new:
            return
        for pid in new:
            send(pid, signal.SIGSTOP)
        stopped |= new


def running(pids: set[int]) -> set[int]:
    """Those that are neither gone nor zombies."""
    return {pid for pid in pids if (found := _stat(pid)) and found[0] not in "ZX"}


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def reap() -> dict[int, int]:
    """Exit codes, as a shell would say, of the children that ended."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        code = os.waitstatus_to_exitcode(status)
        ended[pid] = code if code >= 0 else 128 - code


def marked(folder: str) -> set[int]:
    """Processes that carry the mark of the box in `folder`. Never this one."""
    mark = f"{MARK}={folder}".encode()
    return {pid for pid in alive() - {os.getpid()} if mark in _environ(pid)}


def kill_marked(folder: str, seconds: float = 10.0) -> None:
    """Ends what a runner that was killed left behind."""
    until = time.monotonic() + seconds
    while (left := running(marked(folder))) and time.monotonic() < until:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in left:
                send(pid, number)
        time.sleep(0.001)


def _environ(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    """Memory with each shared page counted by its share; resident where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return _resident(pid)
