"""Owns the copy of a store while it is in use, and the way back from one. Never touches the store it copies.

A backup is a folder of the home's own form: `store.db` and `artifacts/`. Invariant: it appears whole or not at all,
what comes back has proven its chain, its pages and the hash of every artifact before it is called a store, and no
store is ever overwritten.
"""

import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select, text

from moss.adapters.stores.artifacts import path_of, sync_folder, write_durably
from moss.adapters.stores.database import FILE, Database
from moss.adapters.stores.faults import translated
from moss.adapters.stores.journal import first_broken_link
from moss.adapters.stores.schema import artifacts, runs
from moss.domain.frozen import sha256
from moss.domain.ids import Digest
from moss.errors import Refused, StoreBroken, UserError

FOLDER = "artifacts"
DRAFT = ".restore."


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup or a restore holds; `bytes` is database and artifacts."""

    runs: int
    artifacts: int
    bytes: int


def backup(database: Database, folder: Path, to: Path) -> Copied:
    """A consistent copy at `to`, which must be absent or empty.

    Raises: UserError (not a SQLite store), Refused (`to` holds something), StoreFull, StoreReadOnly, StoreBroken.
    """
    if not database.is_file:
        raise UserError("this store is not a file", where="db.url", mend="use the database's own pg_dump")
    with _draft(to) as draft:
        _copy_database(database, draft / FILE)
        with closing(sqlite3.connect(draft / FILE)) as copy:
            for digest in _digests(copy):
                if not _copy_artifact(digest, folder, draft / FOLDER):
                    _drop_if_dropped(database, folder, copy, digest)
        copied = _proven(draft)
        with closing(sqlite3.connect(draft / FILE)) as copy:
            # One file without a log beside it: it can be read from a medium that cannot be written.
            copy.execute("PRAGMA journal_mode = DELETE")
        return copied


def restore(source: Path, home: Path) -> Copied:
    """`source`, a backup, becomes the store of `home`, which holds none; what else is in there (images, the live
    agent's record) stays. An older schema is brought forward.

    Raises: UserError (`source` is no backup), Refused (`home` holds a store), NewerSchema, StoreBroken, StoreFull,
    StoreReadOnly.
    """
    if not (source / FILE).is_file():
        raise UserError(
            f"there is no {FILE} in it", where=str(source), mend="name a folder that moss store backup wrote"
        )
    with _draft_within(home) if _in_use(home) else _draft(home) as draft:
        with (
            translated(draft / FILE),
            closing(sqlite3.connect(f"{(source / FILE).absolute().as_uri()}?mode=ro", uri=True)) as old,
        ):
            _copy_pages(old, draft / FILE)
            digests = _digests(old)
        for digest in digests:
            if not _copy_artifact(digest, source / FOLDER, draft / FOLDER):
                raise StoreBroken(f"{source}: artifact {digest} is missing from the backup. Nothing was restored.")
        return _proven(draft)


@contextmanager
def _draft(to: Path) -> Iterator[Path]:
    """A folder that becomes `to` when the block ends well, and vanishes when it does not."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise Refused(f"{to} is not empty. Nothing was written.", mend="name a folder that does not exist yet")
    draft = to.with_name(f".{to.name}.{uuid.uuid4().hex[:8]}")
    with translated(to):
        draft.mkdir(mode=0o700, parents=True)
        try:
            yield draft
            for folder in (draft, draft.parent):
                sync_folder(folder)
            draft.replace(to)
            sync_folder(to.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _in_use(home: Path) -> bool:
    return home.is_dir() and any(home.iterdir())


@contextmanager
def _draft_within(home: Path) -> Iterator[Path]:
    """A folder whose store becomes that of `home` when the block ends well, and vanishes when it does not."""
    if found := sorted(path.name for path in home.glob(f"{FILE}*")):
        raise Refused(
            f"{home} holds a store. Nothing was written.",
            mend=f"end moss serve, move {', '.join(found)} to another folder, then again",
        )
    for left in home.glob(f"{DRAFT}*"):
        shutil.rmtree(left, ignore_errors=True)
    draft = home / f"{DRAFT}{uuid.uuid4().hex[:8]}"
    with translated(home):
        draft.mkdir(mode=0o700)
        try:
            yield draft
            _take_over(draft, home)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _take_over(draft: Path, home: Path) -> None:
    """Artifacts first (by their hash, so none is replaced by another), the database last: killed before that, the
    home holds no store yet, and a restore may be repeated."""
    for path in sorted((draft / FOLDER).glob("*/*")):
        target = home / path.relative_to(draft)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.replace(target)
        sync_folder(target.parent)
    (draft / FILE).replace(home / FILE)
    sync_folder(home)


def _copy_database(database: Database, to: Path) -> None:
    with translated(database.place), closing(database.engine.raw_connection()) as borrowed:
        driver = borrowed.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        _copy_pages(driver, to)


def _copy_pages(source: sqlite3.Connection, to: Path) -> None:
    """SQLite's own backup in one step: one consistent look, while writers go on."""
    os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with closing(sqlite3.connect(to)) as target:
        source.backup(target)


def _digests(connection: sqlite3.Connection) -> Sequence[Digest]:
    return [Digest(digest) for (digest,) in connection.execute("SELECT digest FROM artifacts ORDER BY digest")]


def _copy_artifact(digest: Digest, source: Path, to: Path) -> bool:
    """Whether it was there. Raises: StoreBroken when its bytes are not what its name says."""
    path = path_of(source, digest)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    if sha256(data) != digest:
        raise StoreBroken(f"{path}: the artifact's bytes are not those that were stored. Nothing was copied.")
    write_durably(path_of(to, digest), data)
    return True


def _drop_if_dropped(database: Database, folder: Path, copy: sqlite3.Connection, digest: Digest) -> None:
    """Retention may take a file away while the backup runs; then its row goes from the copy, too."""
    with database.read() as connection:
        still = connection.execute(select(artifacts.c.digest).where(artifacts.c.digest == digest)).one_or_none()
    if still is not None:
        raise StoreBroken(f"{path_of(folder, digest)}: the artifact's file is gone. Nothing was copied.")
    copy.execute("DELETE FROM artifact_runs WHERE digest = ?", (digest,))
    copy.execute("DELETE FROM artifacts WHERE digest = ?", (digest,))
    copy.commit()


def _proven(home: Path) -> Copied:
    """Opens what was copied and counts it. Raises: StoreBroken when its pages or its chain do not hold."""
    database = Database(home)
    try:
        database.bring_forward()
        with database.read() as connection:
            return _checked(connection, home)
    finally:
        database.close()


def _checked(connection: Connection, home: Path) -> Copied:
    pages = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
    if pages != "ok":
        raise StoreBroken(f"{home}: the copy's pages are damaged ({pages}). Nothing was kept.")
    if broken := first_broken_link(connection):
        raise StoreBroken(
            f"{home}: the journal of {broken.run} is broken at entry {broken.seq}: {broken.because}. Nothing was kept."
        )
    files, size = connection.execute(
        select(func.count(), func.coalesce(func.sum(artifacts.c.size), 0)).select_from(artifacts)
    ).one()
    count = connection.execute(select(func.count()).select_from(runs)).scalar_one()
    return Copied(count, files, size + (home / FILE).stat().st_size)
