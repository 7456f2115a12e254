"""Owns artifacts: bytes under `artifacts/ab/<hex>` by their own hash, and a row that says what they are for.

Never trusts a file: what is read is hashed again. Invariant: a row is written only after its file is durable, and
files are removed only inside a write transaction, so no row ever names a file that retention took away.
"""

import os
import re
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, delete, or_, select

from moss.adapters.stores.database import Database
from moss.adapters.stores.dialect import insert_missing, upsert
from moss.adapters.stores.faults import translated
from moss.adapters.stores.part import Part, chunks
from moss.adapters.stores.schema import artifact_runs, artifacts, batches, events, runs
from moss.domain.batch import BatchState
from moss.domain.frozen import sha256
from moss.domain.ids import Digest, RunId
from moss.errors import StoreBroken, UserError
from moss.ports import Clock

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

_DONE = (BatchState.DONE.value, BatchState.DISMISSED.value)


class Artifacts(Part):
    """Content by hash. `folder` is `<home>/artifacts`."""

    def __init__(self, database: Database, clock: Clock, folder: Path) -> None:
        Part.__init__(self, database, clock)
        self._folder = folder

    def put(self, data: bytes, kind: str, run: RunId | None = None) -> Digest:
        digest = Digest(sha256(data))
        path = self.artifact_path(digest)
        with translated(path):
            if not _holds(path, data):
                write_durably(path, data)
        with self._db.write() as connection:
            # Retention may have removed the file since; it does so under this same lock.
            if not path.exists():
                write_durably(path, data)
            row = {"digest": digest, "kind": kind, "size": len(data), "at": self._clock.now()}
            upsert(connection, artifacts, [row], ["at"])
            if run is not None:
                insert_missing(connection, artifact_runs, [{"digest": digest, "run": run}])
        return digest

    def get(self, digest: Digest) -> bytes | None:
        path = self.artifact_path(digest)
        try:
            with translated(path):
                data = path.read_bytes() if path.exists() else None
        except FileNotFoundError:
            data = None
        if data is None:
            if self._known(digest):
                raise StoreBroken(f"{path}: the artifact's file is gone. Mend: moss store restore.")
            return None
        if sha256(data) != digest:
            raise StoreBroken(f"{path}: the artifact's bytes are not those that were stored. Mend: moss store restore.")
        return data

    def artifact_path(self, digest: Digest) -> Path:
        return path_of(self._folder, digest)

    def drop_artifacts(self, before: datetime, keep: Iterable[Digest]) -> int:
        with self._db.write() as connection:
            old = set(connection.execute(select(artifacts.c.digest).where(artifacts.c.at < before)).scalars())
            gone = sorted(old - set(keep) - _needed(connection)) if old else []
            for some in chunks(gone):
                connection.execute(delete(artifacts).where(artifacts.c.digest.in_(some)))
            for digest in gone:
                self.artifact_path(Digest(digest)).unlink(missing_ok=True)
            self._sweep(connection, before)
        return len(gone)

    def _known(self, digest: Digest) -> bool:
        with self._db.read() as connection:
            found = connection.execute(select(artifacts.c.digest).where(artifacts.c.digest == digest))
            return found.one_or_none() is not None

    def _sweep(self, connection: Connection, before: datetime) -> None:
        """Removes what a crash between file and row left behind."""
        for folder in self._folder.glob("??"):
            known = set(
                connection.execute(
                    select(artifacts.c.digest).where(artifacts.c.digest.startswith(f"sha256:{folder.name}"))
                ).scalars()
            )
            for path in folder.iterdir():
                if f"sha256:{path.name}" not in known and path.stat().st_mtime < before.timestamp():
                    path.unlink(missing_ok=True)


def path_of(folder: Path, digest: Digest) -> Path:
    """Where an artifact lies. Raises: UserError for a text that is no digest, so none can name another file."""
    if not DIGEST.fullmatch(digest):
        raise UserError(f"{digest[:100]!r} is not a digest (sha256: and 64 hex digits)")
    name = digest.removeprefix("sha256:")
    return folder / name[:2] / name


def write_durably(path: Path, data: bytes) -> None:
    """The file is there with all of its bytes, also after a power cut, or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except FileNotFoundError:
        return False


def _needed(connection: Connection) -> set[str]:
    """Digests that unfinished runs or batches refer to: by their own artifacts, their events, their cases."""
    active = select(runs.c.id).where(runs.c.outcome.is_(None))
    own = connection.execute(select(artifact_runs.c.digest).where(artifact_runs.c.run.in_(active))).scalars()
    return set(own) | set(_named(connection))


def _named(connection: Connection) -> Iterator[str]:
    active = select(runs.c.id).where(runs.c.outcome.is_(None))
    living = or_(batches.c.state.not_in(_DONE), batches.c.run.in_(active))
    for wanted in (select(events.c.event).where(events.c.run.in_(active)), select(batches.c.body).where(living)):
        for words in connection.execute(wanted, execution_options={"yield_per": 100}).scalars():
            yield from DIGEST.findall(words)
