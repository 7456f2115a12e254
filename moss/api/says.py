"""Owns what operations answer: one closed value each, the same in-process, over HTTP and as `--json`.

Never decides. Text in here that came from outside is whole; `views` and the page make it plain when they show it.
"""

from datetime import datetime

from pydantic import Field

from moss.domain.consent import Statement
from moss.domain.frozen import Frozen
from moss.domain.grid import Matrix as Matrix
from moss.domain.ids import BatchId, CaseId, Digest, Fingerprint, RunId
from moss.domain.rights import Role


class Say(Frozen, defer_build=True):
    """Built when the first one is made: a call of `moss` makes one of them, not all."""


class Done(Say):
    """One sentence about what was done, and what to do next."""

    says: str
    next: tuple[str, ...] = ()


# ------------------------------------------------------------------ lists


class RunLine(Say):
    """`waits`: for a person."""

    id: RunId
    batch: BatchId
    label: str
    stage: str
    outcome: str | None
    waits: bool
    started: datetime
    updated: datetime


class Runs(Say):
    runs: tuple[RunLine, ...]


class LiveLine(Say):
    """What is live. `known` false: it does not run under MOSS yet."""

    known: bool
    name: str = ""
    image: Digest | None = None
    commit: str | None = None
    running: bool = False


class Status(Say):
    """`last`: the runs that ended last. `serve`, `gateway`: whether these processes run."""

    substrate: str
    home: str
    live: LiveLine
    serve: bool
    gateway: bool
    paused: str | None
    turns: int
    sessions: int
    failures: int
    guards: int
    sealed: int
    active: tuple[RunLine, ...]
    last: tuple[RunLine, ...]


class FingerprintLine(Say):
    fingerprint: Fingerprint
    seen: int
    users: int
    last: datetime
    example: str
    state: str
    run: RunId | None = None


class Failures(Say):
    fingerprints: tuple[FingerprintLine, ...]


class BatchLine(Say):
    id: BatchId
    label: str
    group_by: str
    state: str
    cases: int
    guards: int
    sealed_at: datetime
    run: RunId | None = None


class Batches(Say):
    batches: tuple[BatchLine, ...]


class Scanned(Say):
    """What one scan found. `sealed`: batches that it sealed."""

    sessions: int
    turns: int
    failures: int
    new: int
    fingerprints: int
    skipped: int
    sealed: tuple[BatchId, ...] = ()


class Flagged(Say):
    id: str
    fingerprint: Fingerprint
    says: str


class Dismissed(Say):
    fingerprint: Fingerprint
    closed: int


# ------------------------------------------------------------------ one run


class RunStarted(Say):
    run: RunId
    batch: BatchId
    label: str
    cases: int
    guards: int
    iterations: int
    budget: str
    sealed: bool = Field(False, description="the batch was sealed for this run")
    scripted: tuple[str, ...] = ()


class StageLine(Say):
    """One step that was done: what it said."""

    stage: str
    iteration: int
    round: int
    says: str
    ok: bool
    seconds: float
    at: datetime


class SwapStep(Say):
    """One phase of a swap as it went. `word`: past tense, for people. `said`: last words of a version that failed."""

    phase: str
    word: str
    says: str
    ok: bool
    seconds: float
    at: datetime
    held: bool = Field(description="messages wait during it")
    said: str = ""


class SwapSeen(Say):
    """One swap of a run: forward, back, or an undo."""

    undo: bool
    steps: tuple[SwapStep, ...]
    end: str | None
    because: str
    refused: int
    waited: int
    longest_wait: float
    released_after: float | None
    lost: tuple[str, ...]


class Money(Say):
    """Spent of a budget; `limit` None: no limit."""

    money_usd: float
    money_limit: float | None
    tokens: int
    token_limit: int | None
    seconds: float
    trials: int


class Show(Say):
    """All of one run on one screen."""

    run: RunId
    substrate: str
    batch: BatchId
    label: str
    depth: str
    by: str
    scripted: tuple[str, ...]
    base: str
    began: datetime
    updated: datetime
    stage: str | None
    outcome: str | None
    because: str
    paused: bool
    stopping: str | None
    lines: tuple[StageLine, ...]
    trials: int
    trials_invalid: int
    matrix: Matrix
    verdict: str
    swaps: tuple[SwapSeen, ...]
    cost: Money
    next: tuple[str, ...]


class FileLine(Say):
    path: str
    added: int
    removed: int


class Prediction(Say):
    says: str
    held: bool | None = Field(description="None: nothing in the trials tells")


class Review(Say):
    """What a person reads before saying yes. `current`: the base is still what runs (None: it cannot be asked).

    `invalid`: why trials of the candidate gave no result; `invalid_live`: how many of the live version's did not.
    `words_only`: cases that nobody told what a good answer does.
    """

    run: RunId
    substrate: str
    outcome: str | None
    waits: bool
    partial: bool
    scripted: tuple[str, ...]
    failures: int
    reproduced: int
    left_out: tuple[CaseId, ...]
    files: tuple[FileLine, ...]
    summary: str
    fixed: int
    cases: int
    valid: int
    guards: int
    guards_held: int
    below: float | None
    own_checks: int | None
    own_checks_ran: bool
    lines_ran: int
    lines_told: int
    predictions: tuple[Prediction, ...]
    risks: tuple[str, ...]
    invalid: tuple[str, ...]
    invalid_live: int
    words_only: int
    redacted: int
    cost: Money
    seconds: float
    base: str
    base_image: Digest
    candidate: str
    current: bool | None
    snapshot_note: str
    statement: Statement | None
    consents: tuple[str, ...]
    needed: int
    matrix: Matrix
    next: tuple[str, ...]


class Diff(Say):
    run: RunId
    iteration: int
    text: str
    whole: bool


class LogLine(Say):
    """One entry of the journal. `quiet`: of little worth to a person (reservations, single trials)."""

    run: RunId
    seq: int
    at: datetime
    kind: str
    what: str
    says: str
    ok: bool
    quiet: bool
    hash: Digest
    case: CaseId | None = None


class LogLines(Say):
    """`more`: ask again after the last one. `ended`: nothing comes any more; `waits`: not without a person."""

    lines: tuple[LogLine, ...]
    more: bool
    ended: bool
    waits: bool
    outcome: str | None


class Verified(Say):
    """`broken` None: the chain holds from first to last."""

    runs: int
    broken_run: RunId | None = None
    broken_seq: int | None = None
    because: str = ""

    @property
    def ok(self) -> bool:
        return self.broken_run is None


# ------------------------------------------------------------------ people


class ApproverLine(Say):
    name: str
    fingerprint: str
    revoked: bool


class Approvers(Say):
    substrate: str
    needed: int
    approvers: tuple[ApproverLine, ...]


class TokenMade(Say):
    """`token` is shown here and never again."""

    name: str
    role: Role
    token: str


class TokenRow(Say):
    name: str
    role: Role
    made: datetime


class Tokens(Say):
    tokens: tuple[TokenRow, ...]


class BackedUp(Say):
    folder: str
    runs: int
    artifacts: int
    bytes: int


class UsageLine(Say):
    run: str
    stage: str
    upstream: str
    model: str
    requests: int
    tokens_in: int
    tokens_out: int
    money_usd: float


class GatewayUsage(Say):
    lines: tuple[UsageLine, ...]
    scripted: tuple[str, ...]
