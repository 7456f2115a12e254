"""Owns the SQL store: one object that is all of `moss.ports.Store`, on SQLite or PostgreSQL.

Never anything by itself: each part of it is a module beside this one. Invariant: every method is one transaction,
durable when it returns; threads and processes may share one store.
"""

from pathlib import Path
from types import TracebackType

from moss.adapters.stores.artifacts import Artifacts
from moss.adapters.stores.backup import Copied, backup
from moss.adapters.stores.batches import Batches
from moss.adapters.stores.claims import Claims
from moss.adapters.stores.database import Database
from moss.adapters.stores.evidence import Evidence
from moss.adapters.stores.facts import Facts
from moss.adapters.stores.journal import Journal
from moss.adapters.stores.outbox import OutboxRows
from moss.ports import Clock


class SqlStore(Journal, Artifacts, Evidence, Batches, OutboxRows, Facts):
    """The store of one home folder. Close it, or use it as a context."""

    def __init__(self, database: Database, clock: Clock, artifacts: Path, host: str | None = None) -> None:
        Claims.__init__(self, database, clock, host)
        Artifacts.__init__(self, database, clock, artifacts)

    @classmethod
    def open(cls, home: Path, clock: Clock, *, url: str | None = None, host: str | None = None) -> "SqlStore":
        """The store of `home`, made or brought forward where needed. `url`: a database elsewhere (PostgreSQL);
        without it `<home>/store.db`. Artifacts are always below `home`.

        Raises: NewerSchema, StoreFull, StoreReadOnly, StoreBroken.
        """
        database = Database(home, url)
        try:
            database.bring_forward()
        except BaseException:
            database.close()
            raise
        return cls(database, clock, home / "artifacts", host)

    def backup(self, to: Path) -> Copied:
        """A consistent copy of database and artifacts at `to`, made while the store is in use.

        Raises: UserError (not SQLite), Refused (`to` is not empty), StoreFull, StoreReadOnly, StoreBroken.
        """
        return backup(self._db, self._folder, to)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> "SqlStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
