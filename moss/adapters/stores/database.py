"""Owns the connection to the database: one engine, one writer at a time, the schema brought forward at opening.

Never knows what a table means. Invariant: `write` is one transaction, all of it or nothing, and it is alone.
Alembic is imported only when the schema is not the current one: opening a current store costs one look.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, make_url, text

from moss.adapters.stores import dialect
from moss.adapters.stores.faults import translated
from moss.adapters.stores.schema import REVISIONS
from moss.errors import NewerSchema, StoreBroken

FILE = "store.db"


class Database:
    """`place` is the file that error sentences name (for PostgreSQL the home folder's would-be file)."""

    def __init__(self, home: Path, url: str | None = None) -> None:
        self.place = home / FILE
        target = make_url(url) if url else URL.create("sqlite", database=str(self.place))
        self.is_file = target.get_backend_name() == "sqlite"
        self.engine = create_engine(target, pool_size=4, max_overflow=12, pool_timeout=60)
        dialect.prepare(self.engine)
        self._writing = self.engine.execution_options(**{dialect.WRITES: True})
        # Writers of this process queue here, in order; SQLite's own wait is a poll with growing sleeps.
        self._turn = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent look."""
        with translated(self.place), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, durable when the block is left; nothing of it when the block raises."""
        with translated(self.place), self._turn, self._writing.begin() as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    def bring_forward(self) -> None:
        """Makes or migrates the schema. Raises: NewerSchema, StoreBroken, StoreFull, StoreReadOnly."""
        if self.is_file:
            self._make_file()
        with self.read() as connection:
            if self._revision(connection) == REVISIONS[-1]:
                return
        from moss.adapters.stores.migrate import upgrade

        with self.write() as connection:
            # Asked again: another process may have brought it forward while this one waited for its turn.
            if self._revision(connection) != REVISIONS[-1]:
                upgrade(connection)

    def _make_file(self) -> None:
        """A new store's file is private from its first byte; an empty file beside artifacts is a lost store."""
        with translated(self.place):
            self.place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.place.exists() or self.place.stat().st_size == 0:
                if any((self.place.parent / "artifacts").glob("*/*")):
                    raise StoreBroken(
                        f"{self.place}: the store is empty, but its artifacts are there. "
                        "Mend: moss store restore, from the last backup."
                    )
                os.close(os.open(self.place, os.O_CREAT | os.O_RDWR, 0o600))

    def _revision(self, connection: Connection) -> str | None:
        if not connection.dialect.has_table(connection, "alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        if found is not None and found not in REVISIONS:
            raise NewerSchema(
                f"{self.place}: the store was written by a newer MOSS (schema {found}, this one knows "
                f"{REVISIONS[-1]}). Nothing was changed. Mend: install that version, or restore a backup."
            )
        return str(found) if found else None
