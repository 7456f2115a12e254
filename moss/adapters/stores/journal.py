"""Owns the journal's rows and the list of runs beside them. Never what an event means.

Invariant: an entry and the run's row change in one transaction, and the row carries the hash of the last entry, so
that a tail cut off is noticed as well as a changed middle.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, func, select, update

from moss.adapters.stores.claims import Claims
from moss.adapters.stores.part import AnyRow, next_number, number
from moss.adapters.stores.schema import events, runs
from moss.domain.frozen import canonical
from moss.domain.ids import BatchId, Digest, RunId
from moss.domain.journal import GENESIS, Entry, chain
from moss.errors import SeqTaken
from moss.ports import BrokenLink, Claim, Head, RunRow

_ROWS_AT_ONCE = 500

# An append is what the controller does most: its statements are built once, since building one costs more than it does.
_LAST = select(runs.c.seq, runs.c.head).where(runs.c.id == bindparam("run"))
_MOVED = ("substrate", "batch", "label", "stage", "outcome", "updated", "seq", "head")
_MOVE = update(runs).where(runs.c.id == bindparam("moved")).values({name: bindparam(name) for name in _MOVED})
_ADD = events.insert()


class Journal(Claims):
    """Appends need the claim's row, so the journal stands on the claims."""

    def append(
        self,
        run: RunId,
        seq: int,
        at: datetime,
        kind: str,
        event: Mapping[str, object],
        head: Head,
        claim: Claim | None,
    ) -> Entry:
        at, body = at.astimezone(UTC), dict(event)
        with self._db.write() as connection:
            if claim is not None:
                self._held(connection, claim, run)
            row = connection.execute(_LAST, {"run": run}).one_or_none()
            last = row.seq if row else 0
            if seq != last + 1:
                raise SeqTaken(f"{run} is at entry {last}; entry {seq} cannot be added. Nothing was written.")
            prev = Digest(row.head) if row else GENESIS
            hash_ = chain(prev, run, seq, at, body)
            _set_run(connection, run, seq, at, hash_, head)
            text = canonical(body).decode()
            entry = {"run": run, "seq": seq, "at": at, "kind": kind, "event": text, "prev": prev, "hash": hash_}
            connection.execute(_ADD, entry)
        return Entry(run=run, seq=seq, at=at, kind=kind, event=body, prev=prev, hash=hash_)

    def entries(self, run: RunId, after: int = 0, limit: int | None = None) -> Sequence[Entry]:
        with self._db.read() as connection:
            wanted = select(events).where(events.c.run == run, events.c.seq > after).order_by(events.c.seq)
            return [_entry(row) for row in connection.execute(wanted.limit(limit))]

    def runs(
        self, *, active: bool | None = None, substrate: str | None = None, limit: int = 100, offset: int = 0
    ) -> Sequence[RunRow]:
        wanted = select(runs).order_by(runs.c.number.desc()).limit(limit).offset(offset)
        if active is not None:
            wanted = wanted.where(runs.c.outcome.is_(None) if active else runs.c.outcome.is_not(None))
        if substrate is not None:
            wanted = wanted.where(runs.c.substrate == substrate)
        with self._db.read() as connection:
            return [_run_row(row) for row in connection.execute(wanted)]

    def run(self, run: RunId) -> RunRow | None:
        with self._db.read() as connection:
            row = connection.execute(select(runs).where(runs.c.id == run)).one_or_none()
            return _run_row(row) if row else None

    def new_run_id(self) -> RunId:
        with self._db.write() as connection:
            return RunId(f"ev-{next_number(connection, 'run'):02d}")

    def verify(self, run: RunId | None = None) -> BrokenLink | None:
        with self._db.read() as connection:
            return first_broken_link(connection, run)


def first_broken_link(connection: Connection, run: RunId | None = None) -> BrokenLink | None:
    """Over one run, or over all with a look for runs that were taken out; memory does not grow with the journal."""
    wanted = select(runs.c.id, runs.c.seq, runs.c.head).order_by(runs.c.number)
    if run is not None:
        wanted = wanted.where(runs.c.id == run)
    for row in connection.execute(wanted).all():
        if broken := _first_broken(connection, row):
            return broken
    return None if run is not None else _lost_run(connection)


def _set_run(connection: Connection, run: RunId, seq: int, at: datetime, hash_: Digest, head: Head) -> None:
    values = {
        "substrate": head.substrate,
        "batch": head.batch,
        "label": head.label,
        "stage": head.stage,
        "outcome": head.outcome,
        "updated": at,
        "seq": seq,
        "head": hash_,
    }
    if seq == 1:
        place = next_number(connection, "run-row")
        connection.execute(runs.insert().values(id=run, number=place, started=at, **values))
    else:
        connection.execute(_MOVE, {"moved": run, **values})


def _first_broken(connection: Connection, row: AnyRow) -> BrokenLink | None:
    """The first entry of a run that does not follow from the one before, or the place where entries are missing."""
    run, prev, last = RunId(row.id), GENESIS, 0
    for found in _stream(connection, run):
        if found.seq != last + 1:
            return BrokenLink(run, last + 1, f"entry {last + 1} is missing")
        last = found.seq
        if found.prev != prev:
            return BrokenLink(run, last, "it does not follow from the entry before")
        if found.hash != _hash_of(found):
            return BrokenLink(run, last, "its content is not what was written")
        prev = Digest(found.hash)
    if last != row.seq:
        return BrokenLink(run, min(last, row.seq) + 1, f"entries end at {last}, the run is at {row.seq}")
    if prev != row.head:
        return BrokenLink(run, last, "it is not the entry that the run ended with")
    return None


def _stream(connection: Connection, run: RunId) -> Iterator[AnyRow]:
    wanted = select(events).where(events.c.run == run).order_by(events.c.seq)
    return iter(connection.execute(wanted, execution_options={"yield_per": _ROWS_AT_ONCE}))


def _hash_of(row: AnyRow) -> Digest | None:
    """The hash that an entry should have; None when its text is no event at all."""
    try:
        event = json.loads(row.event)
        return chain(Digest(row.prev), RunId(row.run), row.seq, row.at, event) if isinstance(event, dict) else None
    except ValueError:
        return None


def _lost_run(connection: Connection) -> BrokenLink | None:
    """Entries without a run, or a run taken out with all of its entries: rows are numbered without gaps."""
    orphan = connection.execute(
        select(events.c.run).where(events.c.run.not_in(select(runs.c.id))).limit(1)
    ).scalar_one_or_none()
    if orphan is not None:
        return BrokenLink(RunId(orphan), 1, "the run's row is missing")
    made = number(connection, "run-row") or 0
    if connection.execute(select(func.count()).select_from(runs)).scalar_one() == made:
        return None
    known = set(connection.execute(select(runs.c.number)).scalars())
    gone = next(place for place in range(1, made + 2) if place not in known)
    return BrokenLink(RunId(f"run number {gone}"), 1, "the run was taken out with all of its entries")


def _entry(row: AnyRow) -> Entry:
    return Entry(
        run=row.run,
        seq=row.seq,
        at=row.at,
        kind=row.kind,
        event=json.loads(row.event),
        prev=row.prev,
        hash=row.hash,
    )


def _run_row(row: AnyRow) -> RunRow:
    return RunRow(
        id=RunId(row.id),
        substrate=row.substrate,
        batch=BatchId(row.batch),
        label=row.label,
        stage=row.stage,
        outcome=row.outcome,
        started=row.started,
        updated=row.updated,
        seq=row.seq,
    )
