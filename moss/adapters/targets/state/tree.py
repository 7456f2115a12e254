"""Owns copying a state folder: links as links, holes as holes, the blocks shared where the filesystem can.

Never follows a symbolic link. What is neither file, folder, link nor pipe (sockets, devices) is left out: it means
nothing in a copy.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from moss.errors import NoSpace, TargetError

CopyFile = Callable[[Path, Path], None]
FULL = (errno.ENOSPC, errno.EDQUOT)
NO_SHARING = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)
PIECE = 1 << 20
OURS = ".moss-"
"""what MOSS itself puts at the top of a state folder begins so: no copy holds it"""


def measure(root: Path) -> int:
    """Bytes that the folder takes on its disk: holes cost nothing, a file with two names counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for entry in _walk(root, OURS):
        with contextlib.suppress(FileNotFoundError):
            found = entry.stat(follow_symlinks=False)
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += found.st_blocks * 512
    return total


def all_of(root: Path, user: int) -> bool:
    """Whether the folder and all below it is that user's. One that cannot be looked into is not."""
    try:
        return root.stat().st_uid == user and all(
            entry.stat(follow_symlinks=False).st_uid == user for entry in _walk(root)
        )
    except OSError:
        return False


def free(path: Path) -> int:
    """Bytes that are free where `path`, or its nearest folder that exists, is."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def copy(source: Path, target: Path, copy_file: CopyFile) -> None:
    """`source` and all below it, at `target` (which must not exist). Raises: NoSpace, TargetError."""
    try:
        _copy_folder(source, target, copy_file, {}, OURS)
    except OSError as error:
        if error.errno in FULL:
            raise NoSpace(f"{target}: the disk is full") from error
        raise TargetError(f"{error.filename or source}: cannot be copied ({error.strerror})") from error


def copy_exact(source: Path, target: Path) -> None:
    """One file nobody writes to: its data without its holes."""
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            size = os.fstat(reading).st_size
            os.ftruncate(writing, size)
            for start, end in _data(reading, size):
                _copy_range(reading, writing, start, end)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def copy_durably(source: Path, target: Path) -> None:
    """The same, and on the disk when this returns."""
    copy_exact(source, target)
    _sync(target)


def make_durable(root: Path) -> None:
    """A copied folder is on the disk when this returns. What vanished meanwhile is left out."""
    for entry in _walk(root):
        if not entry.is_symlink() and (entry.is_file() or entry.is_dir()):
            with contextlib.suppress(FileNotFoundError):
                _sync(Path(entry.path))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def same_look(source: os.stat_result, target: Path, *, link: bool = False) -> None:
    """Owner (where we may), mode and times."""
    with contextlib.suppress(PermissionError):
        os.chown(target, source.st_uid, source.st_gid, follow_symlinks=False)
    if not link:
        target.chmod(stat.S_IMODE(source.st_mode))
    os.utime(target, ns=(source.st_atime_ns, source.st_mtime_ns), follow_symlinks=False)


def _copy_folder(
    source: Path, target: Path, copy_file: CopyFile, names: dict[tuple[int, int], Path], but: str | None = None
) -> None:
    target.mkdir(mode=0o700)
    with os.scandir(source) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if but and entry.name.startswith(but):
                continue
            # Of a running agent's folder anything may vanish meanwhile.
            with contextlib.suppress(FileNotFoundError):
                _copy_entry(entry, target / entry.name, copy_file, names)
    same_look(source.stat(), target)


def _copy_entry(
    entry: "os.DirEntry[str]", target: Path, copy_file: CopyFile, names: dict[tuple[int, int], Path]
) -> None:
    source, found = Path(entry.path), entry.stat(follow_symlinks=False)
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFLNK:
        target.symlink_to(source.readlink())
        same_look(found, target, link=True)
    elif kind == stat.S_IFDIR:
        _copy_folder(source, target, copy_file, names)
    elif kind == stat.S_IFIFO:
        os.mkfifo(target)
        same_look(found, target)
    elif kind == stat.S_IFREG:
        first = names.setdefault((found.st_dev, found.st_ino), target)
        if first is not target:
            target.hardlink_to(first)
        else:
            _copy_regular(source, found, target, copy_file)


def _copy_regular(source: Path, found: os.stat_result, target: Path, copy_file: CopyFile) -> None:
    copy_file(source, target)
    if target.exists():
        same_look(found, target)


def _data(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the file has data; everything else is a hole."""
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
            at = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        yield start, min(at, size)


def _copy_range(reading: int, writing: int, start: int, end: int) -> None:
    """`copy_file_range` shares blocks where it can (btrfs, xfs); elsewhere the kernel copies."""
    while start < end:
        try:
            done = os.copy_file_range(reading, writing, end - start, start, start)
        except OSError as error:
            if error.errno not in NO_SHARING:
                raise
            done = os.pwrite(writing, os.pread(reading, min(PIECE, end - start), start), start)
        if done == 0:
            return
        start += done


def _walk(root: Path, but: str | None = None) -> "Iterator[os.DirEntry[str]]":
    try:
        with os.scandir(root) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    for entry in found:
        if but and entry.name.startswith(but):
            continue
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
