"""Owns the lock files that make a process one of a kind.

A lock belongs to an open file, not to a process: it lasts until the last process that inherited it has ended, and the
kernel lets go of it whatever kills them. So a lock that can be taken proves that nobody of that kind lives.
"""

import fcntl
import os
from pathlib import Path


def take(path: Path) -> int | None:
    """The descriptor that holds the lock, None when somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_free(path: Path) -> bool:
    """Whether nobody holds it at this moment; absent is free."""
    if not path.exists():
        return True
    descriptor = take(path)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def holders(path: Path) -> frozenset[int]:
    """Process ids of this user that have the lock file open, ours left out."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return frozenset()
    return frozenset(pid for pid in _pids() if pid != os.getpid() and _has_open(pid, (wanted.st_dev, wanted.st_ino)))


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _has_open(pid: int, identity: tuple[int, int]) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return any(_identity(f"{folder}/{name}") == identity for name in names)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino)
