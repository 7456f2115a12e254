"""Owns one run's journal while it is worked on: reads it, folds it, appends to it under a claim.

Never decides. Invariant: what `run` holds is the fold of what is in the store up to `run.seq`. A person's event that
came in between (a stop, a consent) is folded in first; the event at hand was decided without it and is still true.
"""

import asyncio
from datetime import datetime

from moss.domain.events import Event, Started, read_event
from moss.domain.ids import RunId
from moss.domain.journal import Entry
from moss.domain.run import Run, apply, begin
from moss.engine.offload import offload
from moss.errors import NewerSchema, SeqTaken, UserError
from moss.ports import Claim, Clock, Head, Store

AGAIN = 20
"""how often an append is tried when others append at the same moment"""


def fold(entries: list[Entry] | tuple[Entry, ...], run: Run | None = None) -> Run:
    """The run that the entries tell. Raises: NewerSchema when one of them is of a newer MOSS."""
    for entry in entries:
        event = _read(entry)
        if run is None:
            if not isinstance(event, Started):
                raise NewerSchema(f"{entry.run}: the journal does not begin with a start")
            run = begin(event, entry.at)
        else:
            run = apply(run, event, entry.at)
    if run is None:
        raise UserError("no such run", mend="moss status lists the runs")
    return run


def _read(entry: Entry) -> Event:
    try:
        return read_event(entry.event)
    except ValueError:
        raise NewerSchema(f"{entry.run} entry {entry.seq} ({entry.kind}) was written by a newer MOSS") from None


def load(store: Store, run: RunId) -> Run:
    """A run as its journal tells it. Raises: UserError when there is none, NewerSchema."""
    entries = store.entries(run)
    if not entries:
        raise UserError(f"there is no run {run}", mend="moss status lists the runs")
    return fold(tuple(entries))


def head(run: Run) -> Head:
    """The line that lists show of a run."""
    started = run.started
    stage = run.next.stage if run.next else (run.last.stage if run.last else "")
    return Head(started.substrate, started.batch, started.label, str(stage), run.outcome)


def append(store: Store, run: Run, event: Event, at: datetime, claim: Claim | None) -> Run:
    """Adds `event` after what `run` holds; others' events that came in between are folded in first.

    Raises: SeqTaken when the journal never stands still, ClaimLost, StoreError.
    """
    for _ in range(AGAIN):
        try:
            return append_next(store, run, event, at, claim)
        except SeqTaken:
            run = fold(tuple(store.entries(run.id, run.seq)), run)
    raise SeqTaken(f"{run.id}: the journal did not stand still")


def append_next(store: Store, run: Run, event: Event, at: datetime, claim: Claim | None) -> Run:
    """Adds `event` right after what `run` holds. Raises: SeqTaken when something came in between, ClaimLost."""
    after = apply(run, event, at)
    store.append(run.id, after.seq, at, event.kind, event.model_dump(mode="json"), head(after), claim)
    return after


def create(store: Store, event: Started, at: datetime) -> Run:
    """The first entry of a new run. Raises: SeqTaken when it exists."""
    run = begin(event, at)
    store.append(run.id, 1, at, event.kind, event.model_dump(mode="json"), head(run), None)
    return run


class Journal:
    """A claimed run. `record` is called by one task at a time (trials end side by side)."""

    def __init__(self, store: Store, clock: Clock, run: Run, claim: Claim) -> None:
        self._store, self._clock = store, clock
        self.run, self.claim = run, claim
        self._lock = asyncio.Lock()

    async def record(self, event: Event) -> Run:
        """Appends and folds. Raises: ClaimLost, SeqTaken, StoreError."""
        async with self._lock:
            self.run = await offload(append, self._store, self.run, event, self._clock.now(), self.claim)
            return self.run

    async def refresh(self) -> None:
        """Folds in what others appended since. Raises: NewerSchema, StoreError."""
        async with self._lock:
            entries = await offload(self._store.entries, self.run.id, self.run.seq)
            if entries:
                self.run = fold(tuple(entries), self.run)

    async def renew(self, seconds: float) -> None:
        """Raises: ClaimLost."""
        self.claim = await offload(self._store.renew, self.claim, seconds)
