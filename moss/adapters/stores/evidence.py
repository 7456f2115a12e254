"""Owns what was seen: failures, guards, cursors and refused items. Never how a failure is recognised.

Invariant: cursors move in the transaction that stores what lies before them, so a crash repeats a piece and the
failure's id makes the repeat nothing. What a list shows is counted when it is written, never when it is read.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, delete, select, update

from moss.adapters.stores import pool
from moss.adapters.stores.dialect import insert_missing, upsert
from moss.adapters.stores.part import AnyRow, Part, chunks, next_number, number, plain
from moss.adapters.stores.schema import (
    batches,
    cursors,
    failures,
    fingerprints,
    guards,
    rejected,
    session_pool,
)
from moss.domain.evidence import Failure, Guard
from moss.domain.ids import FailureId, Fingerprint, RunId
from moss.ports import Cursor, FingerprintRow, Rejected


class Evidence(Part):
    """Failures and what surrounds them."""

    def cursors(self, source: str) -> Mapping[str, Cursor]:
        wanted = select(cursors.c.session, cursors.c.mark).where(cursors.c.source == source)
        with self._db.read() as connection:
            return {row.session: Cursor(row.session, row.mark) for row in connection.execute(wanted)}

    def save_scan(
        self,
        source: str,
        failures: Sequence[Failure],
        guards: Sequence[Guard],
        cursors: Sequence[Cursor],
        rejected: Sequence[Rejected],
        at: datetime,
        counted: int = 0,
        sessions: int = 0,
    ) -> int:
        with self._db.write() as connection:
            new = _unknown(connection, failures)
            pool.add(connection, new)
            _add_guards(connection, new, guards)
            _move_cursors(connection, source, cursors)
            _add_rejected(connection, source, rejected)
            next_number(connection, "failures", len(new))
            next_number(connection, "turns", counted)
            next_number(connection, "sessions", sessions)
        return len(new)

    def amend(self, failure: Failure) -> bool:
        waits = (failures.c.id == failure.id) & (failures.c.state == pool.OPEN)
        with self._db.write() as connection:
            name = connection.execute(select(failures.c.fingerprint).where(waits)).scalar_one_or_none()
            if name is None:
                return False
            kept = failure.model_copy(update={"fingerprint": name})
            connection.execute(update(failures).where(waits).values(body=kept.model_dump_json()))
        return True

    def rejected(self, source: str, limit: int = 1000) -> Sequence[Rejected]:
        wanted = select(rejected).where(rejected.c.source == source).order_by(rejected.c.number).limit(limit)
        with self._db.read() as connection:
            return [Rejected(row.session, row.place, row.because, row.raw_sha) for row in connection.execute(wanted)]

    def drop_rejected(self, source: str, items: Sequence[Rejected]) -> None:
        with self._db.write() as connection:
            for item in items:
                connection.execute(
                    delete(rejected).where(
                        rejected.c.source == source,
                        rejected.c.session == plain(item.session),
                        rejected.c.place == plain(item.where),
                        rejected.c.raw_sha == item.raw_sha,
                    )
                )

    def failure(self, failure: FailureId) -> Failure | None:
        wanted = select(failures.c.body).where(failures.c.id == failure)
        with self._db.read() as connection:
            body = connection.execute(wanted).scalar_one_or_none()
        return Failure.model_validate_json(body) if body is not None else None

    def failures(
        self,
        fingerprint: Fingerprint | None = None,
        session: str | None = None,
        unbatched: bool = False,
        limit: int = 100,
    ) -> Sequence[Failure]:
        wanted = select(failures.c.body).order_by(failures.c.at, failures.c.id).limit(limit)
        if unbatched:
            wanted = wanted.where(failures.c.state == pool.OPEN)
        if fingerprint is not None:
            wanted = wanted.where(failures.c.fingerprint == fingerprint)
        if session is not None:
            wanted = wanted.where(failures.c.session == session)
        with self._db.read() as connection:
            return [Failure.model_validate_json(body) for body in connection.execute(wanted).scalars()]

    def fingerprints(self, limit: int = 100, offset: int = 0) -> Sequence[FingerprintRow]:
        wanted = (
            select(fingerprints, batches.c.run)
            .outerjoin(batches, batches.c.id == fingerprints.c.batch)
            .order_by(fingerprints.c.seen.desc(), fingerprints.c.fingerprint)
            .limit(limit)
            .offset(offset)
        )
        with self._db.read() as connection:
            return [_fingerprint(row) for row in connection.execute(wanted)]

    def open_groups(self, by: Literal["session", "fingerprint"], limit: int = 1000) -> Sequence[tuple[str, int]]:
        table = session_pool if by == "session" else fingerprints
        wanted = select(table.c[by], table.c.open).where(table.c.open > 0)
        with self._db.read() as connection:
            rows = connection.execute(wanted.order_by(table.c.open.desc(), table.c[by]).limit(limit))
            return [(name, count) for name, count in rows]

    def dismiss(self, fingerprint: Fingerprint, because: str, at: datetime) -> int:
        with self._db.write() as connection:
            which = (failures.c.fingerprint == fingerprint) & (failures.c.state == pool.OPEN)
            return pool.move(connection, which, pool.DISMISSED, because=because)

    def guards(self, limit: int = 1000) -> Sequence[Guard]:
        wanted = select(guards.c.body).order_by(guards.c.at.desc(), guards.c.id.desc()).limit(limit)
        with self._db.read() as connection:
            return [Guard.model_validate_json(body) for body in connection.execute(wanted).scalars()]

    def counts(self) -> Mapping[str, int]:
        with self._db.read() as connection:
            return {name: number(connection, name) or 0 for name in ("turns", "sessions", "failures", "guards")}


def _unknown(connection: Connection, found: Sequence[Failure]) -> list[Failure]:
    """Those of `found` that the store does not have yet, each once."""
    new = {failure.id: failure for failure in reversed(found)}
    for some in chunks(list(new)):
        known = connection.execute(select(failures.c.id).where(failures.c.id.in_(some))).scalars().all()
        for name in known:
            del new[FailureId(name)]
    return list(reversed(new.values()))


def _add_guards(connection: Connection, new: Sequence[Failure], found: Sequence[Guard]) -> None:
    removed = 0
    for some in chunks([failure.id for failure in new]):
        removed += connection.execute(delete(guards).where(guards.c.id.in_(some))).rowcount
    fresh = {guard.id: guard for guard in reversed(found)}
    for some in chunks(list(fresh)):
        for table in (failures, guards):
            for name in connection.execute(select(table.c.id).where(table.c.id.in_(some))).scalars():
                fresh.pop(FailureId(name), None)
    rows = [{"id": guard.id, "at": guard.turn.at, "body": guard.model_dump_json()} for guard in fresh.values()]
    if rows:
        connection.execute(guards.insert(), rows)
    next_number(connection, "guards", len(rows) - removed)


def _move_cursors(connection: Connection, source: str, moved: Sequence[Cursor]) -> None:
    rows = [{"source": source, "session": plain(cursor.session), "mark": plain(cursor.mark)} for cursor in moved]
    upsert(connection, cursors, rows, ["mark"])


def _add_rejected(connection: Connection, source: str, refused: Sequence[Rejected]) -> None:
    first = next_number(connection, "rejected", len(refused)) - len(refused)
    rows: list[dict[str, Any]] = [
        {
            "source": source,
            "session": plain(item.session),
            "place": plain(item.where),
            "raw_sha": item.raw_sha,
            "because": plain(item.because),
            "number": place,
        }
        for place, item in enumerate(refused, first + 1)
    ]
    insert_missing(connection, rejected, rows)


def _fingerprint(row: AnyRow) -> FingerprintRow:
    return FingerprintRow(
        fingerprint=Fingerprint(row.fingerprint),
        seen=row.seen,
        users=row.users,
        last=row.last,
        example=row.example,
        state=pool.state(row.open, row.batched, row.closed, row.reopened),
        run=RunId(row.run) if row.run is not None else None,
    )
