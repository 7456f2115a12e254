"""Owns how MOSS writes, copies, reads and removes files of its own home. Never knows what is in them.

Invariants: a file that is written is there whole or not at all, also after a power cut; no function here follows a
symlink that a box, an agent or a repository may have made.
"""

import contextlib
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """`data` at `path` by rename, flushed to the disk before it is seen."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(fresh, path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """The bytes of `path`, made on first use, private. Two that make it at once end with the same ones."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.once")
        write_durably(fresh, make())
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
        sync_folder(path.parent)
    return path.read_bytes()


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def copy_tree(source: Path, into: Path) -> None:
    """`source` copied to the new folder `into`: modes kept, symlinks as links, sockets and devices left out."""

    def special(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if not _plain(os.lstat(os.path.join(folder, name)).st_mode)}

    shutil.copytree(source, into, symlinks=True, ignore=special)


def _plain(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def remove_tree(path: Path) -> None:
    """A folder and all in it, read-only ones too. Absent is silent; a symlink is unlinked, not entered."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except (OSError, RecursionError):
        # read-only folders, or folders deeper than Python or a path can go: fts(3) goes everywhere
        subprocess.run(["chmod", "-R", "u+rwx", "--", path], check=False, capture_output=True)
        done = subprocess.run(["rm", "-rf", "--", path], check=False, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"{path} cannot be removed: {done.stderr.strip()[-300:]}") from None


def open_beneath(root: Path, path: str) -> int:
    """A file descriptor, for reading, of a regular file below `root`, never through a symlink, `..` or an absolute
    path. `root` itself is the caller's. Raises: OSError (ELOOP or ENOTDIR: a symlink is in the way)."""
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    with contextlib.ExitStack() as opened:
        at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, at)
        for part in parts[:-1]:
            at = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            opened.callback(os.close, at)
        # O_NONBLOCK: a FIFO in the place of the file must not hang us
        fd = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file")
    return fd


def read_beneath(root: Path, path: str, limit: int) -> bytes | None:
    """At most `limit` bytes of a regular file below `root`; None where there is none, or only through a symlink,
    `..` or an absolute path. `root` itself is the caller's."""
    try:
        fd = open_beneath(root, path)
    except OSError:
        return None
    with open(fd, "rb") as file:
        return file.read(limit)
