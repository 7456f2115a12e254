"""The store: journal, claims, artifacts, evidence, outbox. The docstrings are the contract (see `moss.ports`)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from moss.domain.batch import Batch, BatchState
from moss.domain.evidence import Failure, Guard
from moss.domain.ids import BatchId, Digest, FailureId, Fingerprint, RunId
from moss.domain.journal import Entry
from moss.ports.evidence import Cursor, Rejected
from moss.ports.judges import Notice


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to act on a run. Results are applied only while `token` holds. `expires` is for people: the store
    judges by clocks that never go back, so a jump of the wall clock neither freezes a run nor gives it to two."""

    run: RunId
    owner: str
    token: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class RunRow:
    """One line of a list of runs: a projection of the journal, kept by `append`."""

    id: RunId
    substrate: str
    batch: BatchId
    label: str
    stage: str
    outcome: str | None
    started: datetime
    updated: datetime
    seq: int


@dataclass(frozen=True, slots=True)
class FingerprintRow:
    """One line of `moss failures`."""

    fingerprint: Fingerprint
    seen: int
    users: int
    last: datetime
    example: str
    state: str
    """open, batched, dismissed, fixed, reopened"""
    run: RunId | None = None
    """the run of the batch that took some of it last"""


@dataclass(frozen=True, slots=True)
class BatchRow:
    id: BatchId
    label: str
    group_by: str
    state: BatchState
    cases: int
    guards: int
    sealed_at: datetime
    run: RunId | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """What `append` writes into the run's row beside the entry."""

    substrate: str
    batch: BatchId
    label: str
    stage: str
    outcome: str | None


@dataclass(frozen=True, slots=True)
class BrokenLink:
    run: RunId
    seq: int
    because: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A notice in the outbox. `taken` names the notifiers that accepted it already, `because` is why it waits or
    was given up."""

    notice: Notice
    attempts: int
    due: datetime
    taken: tuple[str, ...] = ()
    because: str = ""


class Store(Protocol):
    """The journal, claims, artifacts, evidence and outbox. Every method is one transaction.

    All raise StoreFull, StoreReadOnly, StoreBroken when the disk says so; then nothing was written.
    """

    # the journal
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
        """Adds entry number `seq` (1 for the first). Raises: SeqTaken, ClaimLost (`claim` no longer holds)."""

    def entries(self, run: RunId, after: int = 0, limit: int | None = None) -> Sequence[Entry]: ...

    def runs(
        self, *, active: bool | None = None, substrate: str | None = None, limit: int = 100, offset: int = 0
    ) -> Sequence[RunRow]:
        """Newest first."""

    def run(self, run: RunId) -> RunRow | None: ...

    def new_run_id(self) -> RunId:
        """`ev-01`, `ev-02`, ...: never given twice."""

    def verify(self, run: RunId | None = None) -> BrokenLink | None:
        """None when the chain holds from first to last; else the first broken link."""

    # claims
    def claim(self, run: RunId, owner: str, seconds: float) -> Claim | None:
        """The claim, None while another owner's holds. Its own is renewed with the same token.
        What an owner of another host left behind is free `seconds` after this store first saw it stand still."""

    def renew(self, claim: Claim, seconds: float) -> Claim:
        """Raises: ClaimLost, also when it ran out and nobody took it: claim again."""

    def release(self, claim: Claim) -> None:
        """Lost already is silent."""

    # artifacts
    def put(self, data: bytes, kind: str, run: RunId | None = None) -> Digest:
        """Stores bytes by their hash. Durable before it returns."""

    def get(self, digest: Digest) -> bytes | None:
        """None when it was never stored or retention dropped it. Raises: StoreBroken when its bytes do not fit."""

    def artifact_path(self, digest: Digest) -> Path:
        """Where another process on this host (the gateway) reads it."""

    def drop_artifacts(self, before: datetime, keep: Iterable[Digest]) -> int:
        """Retention: how many were dropped. The journal stays, and so does what `keep`, an unfinished run or a
        batch that is not done names."""

    # evidence
    def cursors(self, source: str) -> Mapping[str, Cursor]: ...

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
        """All of a scan's piece or nothing; how many failures were new. Exactly once by failure id. `counted`: turns
        that the piece passed, `sessions`: those it met first, for `counts`. A turn that failed is no guard any more."""

    def amend(self, failure: Failure) -> bool:
        """Replaces what is kept of a failure that waits in the pool (its fingerprint and session stay as they are).
        False when none of its id waits there: nothing was changed."""

    def rejected(self, source: str, limit: int = 1000) -> Sequence[Rejected]:
        """Oldest first."""

    def drop_rejected(self, source: str, items: Sequence[Rejected]) -> None:
        """Forgets items that could be read after all. Absent is silent."""

    def failure(self, failure: FailureId) -> Failure | None: ...

    def failures(
        self,
        fingerprint: Fingerprint | None = None,
        session: str | None = None,
        unbatched: bool = False,
        limit: int = 100,
    ) -> Sequence[Failure]:
        """Oldest first; `unbatched`: neither in a batch nor dismissed."""

    def fingerprints(self, limit: int = 100, offset: int = 0) -> Sequence[FingerprintRow]:
        """Most seen first."""

    def open_groups(self, by: Literal["session", "fingerprint"], limit: int = 1000) -> Sequence[tuple[str, int]]:
        """(session or fingerprint, unbatched failures), most first, at most `limit`."""

    def dismiss(self, fingerprint: Fingerprint, because: str, at: datetime) -> int:
        """Closes its unbatched failures; a later failure with it re-opens it. How many were closed."""

    def guards(self, limit: int = 1000) -> Sequence[Guard]:
        """Newest first."""

    def counts(self) -> Mapping[str, int]:
        """turns, sessions, failures, guards: totals for `status`."""

    # batches
    def seal(self, batch: Batch) -> None:
        """Stores the batch and ties its failures to it. The same batch twice is once.
        Raises: Refused when one is in another batch already, or the id is taken."""

    def new_batch_id(self) -> BatchId: ...

    def batch(self, batch: BatchId) -> Batch | None: ...

    def batches(self, state: BatchState | None = None, limit: int = 100) -> Sequence[BatchRow]:
        """Oldest sealed first."""

    def set_batch(self, batch: BatchId, state: BatchState, run: RunId | None, back: Sequence[FailureId] = ()) -> None:
        """Moves a batch on; `back`: failures that return to the pool. The others are closed with it: fixed when it
        is done, dismissed when it is dismissed. Raises: Refused when there is no such batch."""

    # outbox
    def enqueue(self, notice: Notice) -> None:
        """Once by notice id."""

    def due(self, now: datetime, limit: int = 10) -> Sequence[Outgoing]:
        """Longest due first; neither what was delivered nor what was given up."""

    def delivered(self, notice_id: str) -> None:
        """Never due again; its id stays taken."""

    def postpone(self, notice_id: str, until: datetime, taken: Sequence[str] = (), because: str = "") -> None:
        """One attempt failed. `taken`: notifiers that accepted it, added to those before."""

    def give_up(self, notice_id: str, because: str) -> None:
        """Too old: kept as undeliverable."""

    def undeliverable(self, limit: int = 100) -> Sequence[Outgoing]:
        """Newest first."""

    def again(self, notice_id: str, due: datetime) -> None:
        """One that was given up is due again. Silent for any other."""

    # small facts with a name: pause flag, adoption, used consents, revocations
    def fact(self, name: str) -> str | None: ...

    def set_fact(self, name: str, value: str | None, *, expect: str | Literal["any"] | None = "any") -> bool:
        """Sets it (None removes) when it still is `expect`; whether it was set."""

    def facts(self, prefix: str) -> Mapping[str, str]: ...
