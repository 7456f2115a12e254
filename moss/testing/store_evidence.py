"""Owns the evidence half of the store that forgets: failures, guards, cursors and batches in dictionaries.

Where a failure is follows from two things alone: its batch (with that batch's state) and whether it was
dismissed.
Never used by itself: `moss.testing.stores.MemoryStore` is the whole.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Concatenate, Literal, ParamSpec, TypeVar

from moss.domain.batch import Batch, BatchState
from moss.domain.evidence import Failure, Guard
from moss.domain.ids import BatchId, FailureId, Fingerprint, RunId
from moss.errors import Refused
from moss.ports import BatchRow, Cursor, FingerprintRow, Rejected

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="MemoryEvidence")


def locked(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """One method, one transaction."""

    @wraps(method)
    def held(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            return method(self, *args, **kwargs)

    return held


@dataclass
class _Kept:
    """A failure with where it is: in the pool (no batch, not dismissed), in a batch, or dismissed."""

    failure: Failure
    batch: BatchId | None = None
    dismissed: bool = False


@dataclass
class _Print:
    closed: Literal["dismissed", "fixed"] | None = None
    reopened: bool = False
    batch: BatchId | None = None


@dataclass
class _Sealed:
    batch: Batch
    state: BatchState = BatchState.SEALED
    run: RunId | None = None


class MemoryEvidence:
    """What was seen, and what was sealed of it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._numbers: Counter[str] = Counter()
        self._cursors: dict[str, dict[str, Cursor]] = {}
        self._rejected: dict[str, list[Rejected]] = {}
        self._failures: dict[FailureId, _Kept] = {}
        self._prints: dict[Fingerprint, _Print] = {}
        self._guards: dict[FailureId, Guard] = {}
        self._batches: dict[BatchId, _Sealed] = {}

    # evidence

    @locked
    def cursors(self, source: str) -> Mapping[str, Cursor]:
        return dict(self._cursors.get(source, {}))

    @locked
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
        new = {failure.id: failure for failure in failures if failure.id not in self._failures}
        for failure in new.values():
            self._failures[failure.id] = _Kept(failure)
            self._guards.pop(failure.id, None)
            known = self._prints.setdefault(failure.fingerprint, _Print())
            if known.closed is not None:
                known.closed, known.reopened = None, True
        for guard in guards:
            if guard.id not in self._failures:
                self._guards.setdefault(guard.id, guard)
        self._cursors.setdefault(source, {}).update({cursor.session: cursor for cursor in cursors})
        kept = self._rejected.setdefault(source, [])
        kept.extend(item for item in dict.fromkeys(rejected) if item not in kept)
        self._numbers["turns"] += counted
        self._numbers["sessions"] += sessions
        return len(new)

    @locked
    def amend(self, failure: Failure) -> bool:
        kept = self._failures.get(failure.id)
        if kept is None or self._state(kept) != "open":
            return False
        kept.failure = failure.model_copy(update={"fingerprint": kept.failure.fingerprint})
        return True

    @locked
    def rejected(self, source: str, limit: int = 1000) -> Sequence[Rejected]:
        return self._rejected.get(source, [])[:limit]

    @locked
    def drop_rejected(self, source: str, items: Sequence[Rejected]) -> None:
        self._rejected[source] = [item for item in self._rejected.get(source, []) if item not in items]

    @locked
    def failure(self, failure: FailureId) -> Failure | None:
        kept = self._failures.get(failure)
        return kept.failure if kept else None

    @locked
    def failures(
        self,
        fingerprint: Fingerprint | None = None,
        session: str | None = None,
        unbatched: bool = False,
        limit: int = 100,
    ) -> Sequence[Failure]:
        found = [
            kept.failure
            for kept in self._failures.values()
            if fingerprint in (None, kept.failure.fingerprint)
            and session in (None, kept.failure.turn.session)
            and (not unbatched or self._state(kept) == "open")
        ]
        return sorted(found, key=lambda failure: (failure.turn.at, failure.id))[:limit]

    @locked
    def fingerprints(self, limit: int = 100, offset: int = 0) -> Sequence[FingerprintRow]:
        rows = [self._row(name) for name in self._prints]
        return sorted(rows, key=lambda row: (-row.seen, row.fingerprint))[offset : offset + limit]

    @locked
    def open_groups(self, by: Literal["session", "fingerprint"], limit: int = 1000) -> Sequence[tuple[str, int]]:
        pool = [kept.failure for kept in self._failures.values() if self._state(kept) == "open"]
        counts = Counter(failure.turn.session if by == "session" else str(failure.fingerprint) for failure in pool)
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]

    @locked
    def dismiss(self, fingerprint: Fingerprint, because: str, at: datetime) -> int:
        pool = [kept for kept in self._of(fingerprint) if self._state(kept) == "open"]
        for kept in pool:
            kept.dismissed = True
        if pool:
            self._settle({fingerprint}, "dismissed")
        return len(pool)

    @locked
    def guards(self, limit: int = 1000) -> Sequence[Guard]:
        found = sorted(self._guards.values(), key=lambda guard: (guard.turn.at, guard.id), reverse=True)
        return found[:limit]

    @locked
    def counts(self) -> Mapping[str, int]:
        return {
            "turns": self._numbers["turns"],
            "sessions": self._numbers["sessions"],
            "failures": len(self._failures),
            "guards": len(self._guards),
        }

    def _of(self, fingerprint: Fingerprint) -> list[_Kept]:
        return [kept for kept in self._failures.values() if kept.failure.fingerprint == fingerprint]

    def _state(self, kept: _Kept) -> Literal["open", "batched", "fixed", "dismissed"]:
        if kept.batch is None:
            return "dismissed" if kept.dismissed else "open"
        match self._batches[kept.batch].state:
            case BatchState.DONE:
                return "fixed"
            case BatchState.DISMISSED:
                return "dismissed"
            case _:
                return "batched"

    def _settle(self, fingerprints: Iterable[Fingerprint], closed: Literal["dismissed", "fixed"]) -> None:
        """A fingerprint is closed when nothing of it is in the pool or in a batch that goes on."""
        for name in fingerprints:
            living = any(self._state(kept) in ("open", "batched") for kept in self._of(name))
            known = self._prints[name]
            known.closed = None if living else closed
            known.reopened = known.reopened and living

    def _row(self, name: Fingerprint) -> FingerprintRow:
        kept = self._of(name)
        latest = max((one.failure for one in kept), key=lambda failure: (failure.turn.at, failure.id))
        states = {self._state(one) for one in kept}
        known = self._prints[name]
        if "batched" in states:
            state = "batched"
        elif "open" in states:
            state = "reopened" if known.reopened else "open"
        else:
            state = known.closed or "fixed"
        return FingerprintRow(
            fingerprint=name,
            seen=len(kept),
            users=len({one.failure.turn.user_id or one.failure.turn.session for one in kept}),
            last=latest.turn.at,
            example=latest.example,
            state=state,
            run=self._batches[known.batch].run if known.batch else None,
        )

    # batches

    @locked
    def seal(self, batch: Batch) -> None:
        if batch.id in self._batches:
            if self._batches[batch.id].batch == batch:
                return
            raise Refused(f"batch {batch.id} exists already with other cases.")
        kept = [self._failures[case.source] for case in batch.cases if case.source in self._failures]
        for one in kept:
            if self._state(one) in ("batched", "fixed"):
                raise Refused(f"failure {one.failure.id} is in batch {one.batch} already.")
        self._batches[batch.id] = _Sealed(batch)
        for one in kept:
            one.batch, one.dismissed = batch.id, False
        for one in kept:
            known = self._prints[one.failure.fingerprint]
            known.closed, known.batch = None, batch.id

    @locked
    def new_batch_id(self) -> BatchId:
        return BatchId(f"b-{self._next('batch'):02d}")

    @locked
    def batch(self, batch: BatchId) -> Batch | None:
        sealed = self._batches.get(batch)
        return sealed.batch if sealed else None

    @locked
    def batches(self, state: BatchState | None = None, limit: int = 100) -> Sequence[BatchRow]:
        found = [sealed for sealed in self._batches.values() if state in (None, sealed.state)]
        found.sort(key=lambda sealed: sealed.batch.sealed_at)
        return [
            BatchRow(
                id=one.batch.id,
                label=one.batch.label,
                group_by=one.batch.group_by,
                state=one.state,
                cases=len(one.batch.cases),
                guards=len(one.batch.guards),
                sealed_at=one.batch.sealed_at,
                run=one.run,
            )
            for one in found[:limit]
        ]

    @locked
    def set_batch(self, batch: BatchId, state: BatchState, run: RunId | None, back: Sequence[FailureId] = ()) -> None:
        sealed = self._batches.get(batch)
        if sealed is None:
            raise Refused(f"no batch is called {batch}.")
        tied = [kept for kept in self._failures.values() if kept.batch == batch]
        sealed.state, sealed.run = state, run
        for kept in tied:
            if kept.failure.id in back:
                kept.batch, kept.dismissed = None, False
        self._settle(
            {kept.failure.fingerprint for kept in tied},
            "dismissed" if state is BatchState.DISMISSED else "fixed",
        )

    def _next(self, name: str) -> int:
        self._numbers[name] += 1
        return self._numbers[name]
