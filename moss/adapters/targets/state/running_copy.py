"""Owns a consistent copy of the state under a running agent. Never changes a byte of the agent's.

(SQLite itself puts its empty `-wal` and `-shm` beside a WAL database that nobody has open; the agent takes them up.)

SQLite files are copied by SQLite itself, journals up to their last full line, everything else until it held still.
Invariant: a database or a journal in the copy is one that the agent could have left by ending between two writes.
"""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from moss.adapters.targets.state import tree
from moss.errors import NoSpace, TargetError
from moss.files import remove_tree

MAGIC = b"SQLite format 3\0"
COMPANIONS = ("-wal", "-shm", "-journal")
JOURNALS = (".jsonl", ".ndjson")
TRIES = 5
BUSY_SECONDS = 5.0


def copy(state: Path, into: Path) -> None:
    """`state` at `into`, replacing what is there. Raises: NoSpace, TargetError when a database cannot be read."""
    remove_tree(into)
    into.parent.mkdir(parents=True, exist_ok=True)
    tree.copy(state, into, copy_file)


def copy_file(source: Path, target: Path) -> None:
    """One file, by its kind. A companion of a database is left out: its content is in the copy of the database."""
    if _is_companion(source):
        return
    if is_database(source):
        _copy_database(source, target)
    elif source.suffix in JOURNALS:
        _copy_lines(source, target)
    else:
        _copy_still(source, target)


def is_database(path: Path) -> bool:
    """An SQLite file; one of which all is still in its WAL is empty itself."""
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
    return head == MAGIC or (head == b"" and path.with_name(path.name + "-wal").exists())


def _is_companion(path: Path) -> bool:
    for ending in COMPANIONS:
        if path.name.endswith(ending):
            database = path.with_name(path.name.removesuffix(ending))
            return database.is_file() and not database.is_symlink() and is_database(database)
    return False


def _copy_database(source: Path, target: Path) -> None:
    uri = f"{source.absolute().as_uri()}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as live,
            closing(sqlite3.connect(target)) as copied,
        ):
            live.backup(copied, pages=-1)
            copied.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        if tree.free(target.parent) < source.stat().st_size:
            raise NoSpace(f"{target}: the disk is full") from error
        if not (_is_read_only(source) and _copy_pair(source, target)):
            raise TargetError(f"{source}: the database cannot be copied ({error})") from error


def _is_read_only(source: Path) -> bool:
    """Where nothing can be written beside it, SQLite opens no WAL database that nobody else has open."""
    return not os.access(source.parent, os.W_OK)


def _copy_pair(source: Path, target: Path) -> bool:
    """Database and WAL as files, of one moment: neither changed meanwhile. Whether that came about."""
    wal, copied = source.with_name(source.name + "-wal"), target.with_name(target.name + "-wal")
    for number in range(TRIES):
        before = _looks(source), _looks(wal)
        for one in (target, copied):
            one.unlink(missing_ok=True)
        tree.copy_exact(source, target)
        if before[1] is not None:
            tree.copy_exact(wal, copied)
        if (_looks(source), _looks(wal)) == before:
            with closing(sqlite3.connect(target)) as database:
                database.execute("PRAGMA journal_mode=DELETE")
                return bool(database.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        time.sleep(0.01 * (number + 1))
    return False


def _looks(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _copy_lines(source: Path, target: Path) -> None:
    """Up to the last newline at this moment: a journal only grows."""
    with source.open("rb") as live, target.open("wb") as copied:
        left = _last_newline(live.fileno(), os.fstat(live.fileno()).st_size)
        while left > 0 and (piece := live.read(min(left, tree.PIECE))):
            copied.write(piece)
            left -= len(piece)


def _last_newline(descriptor: int, size: int) -> int:
    """The length up to and with the last newline before `size`."""
    end = size
    while end > 0:
        start = max(0, end - tree.PIECE)
        at = os.pread(descriptor, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def _copy_still(source: Path, target: Path) -> None:
    """Copied again while it changed under the copy; the last try stands, as a reader of the file would have it."""
    for number in range(TRIES):
        before = _looks(source)
        target.unlink(missing_ok=True)
        tree.copy_exact(source, target)
        if _looks(source) == before:
            return
        time.sleep(0.01 * (number + 1))
