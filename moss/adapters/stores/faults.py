"""Owns the way from what the disk or the database says to MOSS's own errors, one sentence each.

Never retries and never hides: whoever gets one of these errors knows that the transaction was rolled back.
"""

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from moss.errors import StoreBroken, StoreError, StoreFull, StoreReadOnly

_FULL_BELOW = 1 << 20


@contextmanager
def translated(place: Path) -> Iterator[None]:
    """Raises: StoreFull, StoreReadOnly, StoreBroken for what goes wrong inside. `place`: the store's file."""
    try:
        yield
    except DBAPIError as error:
        raise of_database(error.orig or error, place) from error
    except sqlite3.Error as error:
        raise of_database(error, place) from error
    except OSError as error:
        raise of_system(error, place) from error


def of_database(error: BaseException, place: Path) -> StoreError:
    """What a database driver's error means."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return _full(place)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return _read_only(place)
        case sqlite3.SQLITE_CANTOPEN:
            return _unopened(place)
        case sqlite3.SQLITE_IOERR:
            # SQLite says FULL only of its own writes; growing the shared-memory file of a full disk is an IOERR.
            return _full(place) if _free(place) < _FULL_BELOW else _broken(place, error)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreBroken(f"{place}: another process has held the store's write lock for too long. Try again.")
        case _:
            return _broken(place, error)


def of_system(error: OSError, place: Path) -> StoreError:
    """What an error of a file operation means."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return _full(place)
        case errno.EROFS | errno.EACCES | errno.EPERM:
            return _read_only(place)
        case _:
            return _broken(place, error)


def _full(place: Path) -> StoreFull:
    return StoreFull(f"{place}: the disk is full; nothing was written. Make room and start again.")


def _read_only(place: Path) -> StoreReadOnly:
    return StoreReadOnly(f"{place}: the store cannot be written; nothing was. Check its owner, mode and mount.")


def _unopened(place: Path) -> StoreError:
    """SQLite could not open a file or make the log beside it, and does not say why."""
    if not place.parent.is_dir():
        return _broken(place, "its folder is gone")
    read_only = os.statvfs(place.parent).f_flag & os.ST_RDONLY
    return _full(place) if not read_only and _free(place) < _FULL_BELOW else _read_only(place)


def _broken(place: Path, why: object) -> StoreBroken:
    return StoreBroken(f"{place}: the store is damaged ({why}). Mend: moss store restore, from the last backup.")


def _free(place: Path) -> int:
    try:
        return shutil.disk_usage(place.parent).free
    except OSError:
        return _FULL_BELOW
