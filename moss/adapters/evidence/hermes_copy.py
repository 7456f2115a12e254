"""Owns the consistent copy of a SQLite database that another program is writing, and the connection to it.

The database is copied with its WAL (or its rollback journal) and the copy is opened: the original is only read, whoever
it belongs to and however it is mounted. Invariants: what is opened is one committed state of the database, never a part
of one; what cannot be copied so raises; the copy has no name once it is open, so nothing unredacted outlives this
process.
"""

import errno
import os
import sqlite3
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from moss.errors import UserError
from moss.files import open_beneath

ATTEMPTS = 40
PAUSE = 0.025
TICK_NS = 20_000_000
"""A file that changed within this time may change again without another time stamp."""
HEADER = 32
"""Bytes of a WAL's header; its salts change when the WAL is begun anew."""
PIECE = 8 << 20
LONGEST_VALUE = 64 << 20
"""Bytes of one value that SQLite reads at all."""
MEND = "give MOSS the right to read the agent's state, or correct `evidence.source.database`"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells that a database is as it was: inode, size and time of each file, None for one that is not there."""

    db: tuple[int, int, int]
    wal: tuple[int, int, int] | None
    header: bytes
    journal: tuple[int, int, int] | None


class Unreadable(UserError):
    """There is none, or it is not as Hermes writes it: the agent's own doing, or a wrong setting."""


class Changing(Exception):
    """It was written to while it was copied."""


def stamp(root: Path, path: str) -> Stamp:
    """Raises: OSError."""
    wal, header = _look(root, f"{path}-wal")
    journal, _ = _look(root, f"{path}-journal")
    db, _ = _look(root, path)
    if db is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return Stamp(db, wal, header, journal)


def open_copy(root: Path, path: str, scratch: Path) -> sqlite3.Connection:
    """A connection to a copy, which is gone with it. Raises: UserError, Unreadable."""
    where = str(root / path)
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="evidence-", dir=scratch) as folder:
        for _ in range(ATTEMPTS):
            try:
                return _connect(_copied(root, path, Path(folder)))
            except Changing:
                time.sleep(PAUSE)
            except FileNotFoundError:
                raise Unreadable("there is no such database", where=where, mend=MEND) from None
            except OSError as error:
                because = f"cannot be copied ({os.strerror(error.errno or 0)})"
                raise UserError(because, where=where, mend=MEND) from error
            except sqlite3.Error as error:
                raise Unreadable(f"is no database that can be read ({error})", where=where, mend=MEND) from error
    raise UserError("is written to all the time, so it could not be copied whole", where=where, mend="scan again")


def _copied(root: Path, path: str, folder: Path) -> Path:
    """Raises: Changing, OSError."""
    before = stamp(root, path)
    if not _settled(before):
        raise Changing
    copy = folder / "copy.db"
    for suffix in ("-wal", "-shm", "-journal"):
        copy.with_name(f"copy.db{suffix}").unlink(missing_ok=True)
    _copy(root, path, copy)
    if before.wal is not None:
        _copy(root, f"{path}-wal", folder / "copy.db-wal")
    if before.journal is not None:
        _copy(root, f"{path}-journal", folder / "copy.db-journal")
    after = stamp(root, path)
    # frames that were added to the same WAL meanwhile are whole and committed in the copy, or are not used
    if (after.db, after.header, after.journal) != (before.db, before.header, before.journal):
        raise Changing
    return copy


def _settled(found: Stamp) -> bool:
    """Whether another write to the database would be seen by its time."""
    return time.time_ns() - found.db[2] > TICK_NS


def _look(root: Path, path: str) -> tuple[tuple[int, int, int] | None, bytes]:
    try:
        fd = open_beneath(root, path)
    except FileNotFoundError:
        return None, b""
    try:
        info = os.fstat(fd)
        return (info.st_ino, info.st_size, info.st_mtime_ns), os.pread(fd, HEADER, 0)
    finally:
        os.close(fd)


def _copy(root: Path, path: str, into: Path) -> None:
    source = open_beneath(root, path)
    try:
        target = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            at = 0
            while done := os.sendfile(target, source, at, PIECE):
                at += done
        finally:
            os.close(target)
    finally:
        os.close(source)


def _connect(copy: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(copy, check_same_thread=False, isolation_level=None)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
        # another program made this file: nothing that its schema holds is run
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA mmap_size = 0")
        connection.text_factory = _text
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return connection
    except BaseException:
        connection.close()
        raise


def _text(raw: bytes) -> str:
    """Text as it can be kept: what is no UTF-8, and NULs, are told apart no more."""
    return raw.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
