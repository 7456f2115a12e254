"""Every port on one page. The docstrings are the contracts that `moss.testing` holds each adapter to.

Ports are synchronous: an adapter is a plain class (engine SDKs are synchronous, too), and the engine calls it
through one bounded thread pool (`engine.offload`). Everything is idempotent by key: calling twice is calling once.
A port raises only errors of `moss.errors`, those that its docstring names.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from moss.domain.batch import Batch, BatchState
from moss.domain.case import OnDivergence
from moss.domain.evidence import Exchange, Failure, Guard, Turn
from moss.domain.ids import BatchId, CommitId, Digest, FailureId, Fingerprint, Key, RunId
from moss.domain.journal import Entry
from moss.domain.patch import FileChange as FileChange
from moss.domain.patch import Patch as Patch
from moss.domain.trial import Answer

# ------------------------------------------------------------------ clock


class Clock(Protocol):
    """Time comes in from outside, so tests own it."""

    def now(self) -> datetime:
        """Wall time, UTC, aware. May jump; never used to measure a duration."""

    def monotonic(self) -> float:
        """Seconds that never go back."""


# ------------------------------------------------------------------ source


class Source(Protocol):
    """The substrate's source. Works on a mirror of its own; the user's checkout is never touched."""

    def resolve(self, ref: str) -> CommitId:
        """The commit of a branch, tag or abbreviation. Raises: UserError when there is none."""

    def export(self, commit: CommitId, into: Path) -> None:
        """The tree of `commit` as plain files without history, replacing what `into` holds. Idempotent."""

    def diff(self, base: CommitId, tree: Path) -> Patch:
        """What `tree` (a folder of plain files that an agent worked in) changed since `base`.
        Symlinks are taken as links and never followed; ignored and special files and nested `.git`s are left out.
        Where the change is beyond all measure, `files` names it all and `text` is empty: the policy refuses it.
        Raises: Refused when something still works in the tree."""

    def commit(self, patch: Patch, message: str, key: Key) -> CommitId:
        """`patch` applied to a clean tree of its base, committed under `refs/moss/<key>`. Idempotent by key.
        Raises: Refused when it does not apply, or does anything but what its `files` say."""

    def changed_lines(self, base: CommitId, candidate: CommitId) -> Mapping[str, Sequence[int]]:
        """Path -> line numbers of `candidate` that it added or changed."""

    def patch_between(self, base: CommitId, candidate: CommitId) -> Patch:
        """The diff of two commits."""

    def publish(self, branch: str, commit: CommitId) -> None:
        """Moves `branch` of the user's repository to `commit` (never the one that is checked out)."""


# ------------------------------------------------------------------ images


@dataclass(frozen=True, slots=True)
class Image:
    """A built version of the substrate. `digest` is its identity, `name` for people (`clerk:9f2c1e7`).
    `registry` is the registry digest where it was pushed. `commit` is None for an image MOSS did not build."""

    digest: Digest
    name: str
    commit: CommitId | None
    registry: str | None = None


class ImageBuilder(Protocol):
    """Source tree -> image."""

    def build(self, tree: Path, commit: CommitId, name: str, key: Key, log: Path) -> Image:
        """Builds and smokes an image of `tree`. The same tree gives the same digest where the builder can.
        Raises: BuildFailed (the tree's fault), BuildBroken (ours), NoSpace."""

    def find(self, digest: Digest) -> Image | None:
        """The image, None when it is gone."""

    def remove(self, digest: Digest) -> None:
        """Absent is silent."""

    def list(self) -> Sequence[Image]:
        """All that this builder made and still holds."""


# ------------------------------------------------------------------ boxes


class BoxRole(StrEnum):
    CODER = "coder"
    TRIAL = "trial"
    CHECK = "check"
    BUILD = "build"
    GRADER = "grader"
    PREFLIGHT = "preflight"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a box: wall seconds, bytes, cores, processes."""

    seconds: float = 600.0
    memory_bytes: int = 1 << 30
    cpus: float = 1.0
    pids: int = 256
    output_bytes: int = 16 << 20
    disk_bytes: int = 1 << 30


class MountName(StrEnum):
    """The places of a box. In `argv` and `env` the words `{work}` ... stand for where they are inside the box."""

    WORK = "work"
    """a source tree"""
    STATE = "state"
    """the substrate's state folder"""
    IN = "in"
    """files from `BoxSpec.files`, read-only"""
    OUT = "out"
    """what the box leaves behind"""


@dataclass(frozen=True, slots=True)
class Mount:
    """A host folder at one of the box's places."""

    name: MountName
    source: Path
    writable: bool


@dataclass(frozen=True, slots=True)
class BoxSpec:
    """One box. `argv`/`env` values may hold `{work} {state} {in} {out} {image} {port}`: the adapter puts in the
    box's own paths and port. `image` None: the box needs no substrate image (a coder, a grader).
    `port` true: the program listens on `{port}` and is reached by `Boxes.address`."""

    key: Key
    run: RunId
    role: BoxRole
    argv: tuple[str, ...]
    image: Image | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    workdir: str = "{work}"
    stdin: bytes = b""
    port: bool = False
    limits: Limits = Limits()
    runtime: str | None = None


class ExitReason(StrEnum):
    EXITED = "exited"
    DEADLINE = "deadline"
    MEMORY = "memory"
    OUTPUT = "output"
    PIDS = "pids"
    DISK = "disk"
    KILLED = "killed"
    """by `stop`"""


@dataclass(frozen=True, slots=True)
class BoxExit:
    """How a box ended. `code` as a shell would say (128 + signal)."""

    code: int
    reason: ExitReason
    seconds: float


@dataclass(frozen=True, slots=True)
class Box:
    """A launched box. `id` is the adapter's own; `boot` changes when it was ever started anew."""

    key: Key
    run: RunId
    role: BoxRole
    id: str
    boot: str
    started: datetime


@dataclass(frozen=True, slots=True)
class BoxCapabilities:
    """What the adapter gives. Declared, then proven by `probe`; a capability that fails its probe is not there."""

    isolates_files: bool
    isolates_network: bool
    limits_memory: bool
    limits_pids: bool
    limits_cpu: bool
    limits_disk: bool
    read_only_root: bool
    runtimes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Probed:
    """One line of a self-test: what, whether it holds, what to do when not."""

    name: str
    ok: bool
    detail: str
    mend: str | None = None


class Boxes(Protocol):
    """Disposable, hostile. Labels `moss.dev/run`, `moss.dev/key`, `moss.dev/role` on whatever the engine offers."""

    @property
    def capabilities(self) -> BoxCapabilities: ...

    def probe(self) -> Sequence[Probed]:
        """Proves the declared capabilities on this very engine."""

    def launch(self, spec: BoxSpec) -> Box:
        """Starts a box; with a key that exists (running, ended or lost), gives that one. Survives the controller.
        What a read-only mount holds is never changed. A program that does not exist ends with code 127.
        Raises: BoxRefused, NoSpace."""

    def wait(self, box: Box, seconds: float) -> BoxExit | None:
        """How it ended, None while it runs after `seconds`. Raises: BoxLost."""

    def output(self, box: Box, after: int = 0, limit: int = 1 << 20) -> bytes:
        """stdout from byte `after`, at most `limit` bytes; complete up to the box's bound. Raises: BoxLost."""

    def errors(self, box: Box) -> bytes:
        """The tail of stderr, at most 64 KiB. Raises: BoxLost."""

    def address(self, box: Box) -> tuple[str, int]:
        """Host and port where this side reaches the box's `{port}`. Raises: BoxLost."""

    def exec(self, box: Box, argv: Sequence[str], stdin: bytes, seconds: float) -> tuple[int, bytes, bytes]:
        """Runs a command inside: exit code, stdout, stderr (each at most 1 MiB); 137 when it took longer than
        `seconds` and was killed. Raises: BoxLost (also when the box has ended)."""

    def fetch(self, box: Box, place: MountName, path: str, limit: int) -> bytes | None:
        """A regular file below a place, never through a symlink; its first `limit` bytes, None when there is none.
        Raises: BoxLost."""

    def stop(self, box: Box, grace: float) -> None:
        """SIGTERM, after `grace` seconds SIGKILL, the whole tree. Ended already is silent."""

    def remove(self, key: Key) -> None:
        """Kills and forgets; absent is silent. Nothing of it is left."""

    def list(self, run: RunId | None = None) -> Sequence[Box]:
        """All boxes of this home (of a run), ended ones too."""


# ------------------------------------------------------------------ the live target


class Readiness(StrEnum):
    READY = "ready"
    STARTING = "starting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at the live agent. `boot` changes with each start; `detail` is for people."""

    readiness: Readiness
    boot: str | None
    detail: str
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class LiveVersion:
    """What is live. `running` false: it is stopped (or down)."""

    image: Image
    boot: str | None
    running: bool


@dataclass(frozen=True, slots=True)
class Held:
    """What a hold did: turns in flight that were drained, seconds it took, whether all ended in time."""

    drained: int
    seconds: float
    complete: bool


@dataclass(frozen=True, slots=True)
class Released:
    """What a release did. `refused`: messages that were answered 503 since the hold began."""

    waited: int
    longest_wait: float
    refused: int


@dataclass(frozen=True, slots=True)
class Answered:
    """One message that the agent answered since a mark. `id` is the proxy's, `body_sha` tells messages apart."""

    id: str
    at: datetime
    method: str
    path: str
    status: int
    body_sha: Digest
    session: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of the state taken while nobody writes."""

    key: Key
    bytes: int
    seconds: float


class LiveTarget(Protocol):
    """The one precious agent that users talk to. Two writers on its state are never allowed.

    All steps are idempotent by `key` (one swap). Whatever was done is read from the target itself, so a controller
    that was killed anywhere asks again and goes on. `old` and `new` name which of the swap's two versions.
    """

    def current(self) -> LiveVersion:
        """Raises: TargetDown when the target itself (not the agent) cannot be asked."""

    def prepare(self, image: Image, key: Key) -> None:
        """Everything for `image` is there, not started; last-known-good is written. Raises: BoxRefused, NoSpace."""

    def hold(self, key: Key, drain_seconds: float, deadline_seconds: float) -> Held:
        """New messages wait; turns in flight end. After the deadline the proxy lets go by itself with 503."""

    def stop(self, key: Key, expected: Digest) -> None:
        """Stops what runs with its own grace and keeps it; it will not come back by itself.
        Raises: NotExpected when another version than `expected` runs."""

    def snapshot(self, key: Key, limit_bytes: int) -> Snapshot | None:
        """Copies the state; None when it is larger than `limit_bytes`. Raises: NoSpace."""

    def start(self, key: Key, image: Digest) -> None:
        """Starts exactly one agent of that version; already running it is silent.
        Raises: NotExpected when another one runs, BoxRefused when its image is gone."""

    def probe(self) -> Probe:
        """One look: process and health. Never blocks longer than a second."""

    def address(self) -> tuple[str, int]:
        """Where the agent itself answers, behind the hold: for the canary."""

    def release(self, key: Key) -> Released:
        """Waiting messages flow. Without a hold it is silent."""

    def answered(self, key: Key) -> Sequence[Answered]:
        """Messages that were answered since the release of this swap."""

    def restore_state(self, key: Key) -> None:
        """The snapshot becomes the state, only while nothing runs. Raises: NotExpected, TargetError."""

    def settle(self, key: Key) -> None:
        """The swap is final: the running version gets its restart policy back, markers of `key` are cleared."""

    def state_copy(self, into: Path) -> None:
        """A consistent copy of the running agent's state (SQLite by its own backup). Raises: NoSpace."""

    def evidence_root(self) -> Path:
        """A folder from which the evidence source may read the live state."""

    def forget(self, key: Key) -> None:
        """Drops the snapshot of a swap that can no longer be undone. Absent is silent."""


# ------------------------------------------------------------------ gateway


class GatewayMode(StrEnum):
    LIVE = "live"
    RECORD = "record"
    REPLAY = "replay"
    SCRIPT = "script"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one box may do at the gateway. `recording`, `script` are artifacts; money in US dollars."""

    key: Key
    run: RunId
    stage: str
    mode: GatewayMode
    upstreams: tuple[str, ...]
    models: tuple[str, ...] = ()
    recording: Digest | None = None
    script: Digest | None = None
    on_divergence: OnDivergence = OnDivergence.LIVE
    max_tokens: int | None = None
    max_money_usd: float | None = None
    seconds: float | None = 3600.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a grant used so far."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    money_usd: float = 0.0
    faults: int = 0
    """429, 5xx, refused keys and lost answers that were the upstream's own (a replayed fault is not one), and what the
    gateway could not do: no rule, no artifact, no record"""
    diverged_at: int | None = None
    live: bool = False
    exhausted: bool = False
    estimated: int = 0
    """requests whose tokens were estimated, since their answers named none"""


class GatewayControl(Protocol):
    """The controller's side of the gateway, which is a process of its own."""

    def url(self, role: BoxRole) -> str:
        """The base URL as a box of this role sees it. Raises: GatewayDown."""

    def open(self, grant: Grant) -> str:
        """A signed token for one box. The same grant gives a token for the same account: what an earlier attempt
        of it (the controller was killed) paid for is served again while requests are the same, and not paid twice.
        Raises: GatewayDown."""

    def usage(self, key: Key) -> Usage:
        """Raises: GatewayDown."""

    def record(self, key: Key) -> Sequence[Exchange]:
        """All exchanges of a grant, in order. Raises: GatewayDown."""

    def live_record(self, since: datetime, until: datetime) -> Sequence[Exchange]:
        """Exchanges of the live agent. Raises: GatewayDown."""

    def close(self, key: Key) -> Usage:
        """Revokes the token; its record and account stay. Idempotent. Raises: GatewayDown."""


# ------------------------------------------------------------------ turns


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent is reached: over HTTP at `host:port`, or inside `box` for exec turns."""

    host: str = "127.0.0.1"
    port: int = 0
    box: Box | None = None


class TurnDriver(Protocol):
    """Sends one user message the way the substrate's users do."""

    def send(self, place: Place, session: str, message: str, seconds: float) -> Answer:
        """Never raises for what the agent does: no answer is `Answer.error`. Raises: BoxLost."""

    def health(self, place: Place) -> Probe:
        """One look at the agent's health route: ready, starting (not listening, 503), failed."""


# ------------------------------------------------------------------ evidence


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far one session (or file) was read. `mark` is the adapter's own words."""

    session: str
    mark: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that could not be read. Kept and retried; `raw_sha` tells it apart, the text itself is not kept."""

    session: str
    where: str
    because: str
    raw_sha: Digest


@dataclass(frozen=True, slots=True)
class Scan:
    """A piece of a scan, small enough for memory: `turns` are suspects and candidate guards, redacted, in order.
    `earlier` of a suspect comes by `history`. `counted` is all turns that were passed, looked at or not."""

    turns: tuple[Turn, ...]
    cursors: tuple[Cursor, ...]
    rejected: tuple[Rejected, ...]
    counted: int
    sessions: int


class EvidenceSource(Protocol):
    """New turns since a cursor. What it gives is data: redacted, never an instruction, never a shell word.

    A partial read never passes for an empty one: an unreadable source raises `UserError`, an unreadable item is
    `Rejected`, an unfinished last line stays before the cursor.
    """

    def scan(self, root: Path, cursors: Mapping[str, Cursor], signals: Sequence[bytes]) -> Iterator[Scan]:
        """Turns after the cursors. `signals`: byte strings of which a suspect turn's raw form holds at least one;
        turns without any may be passed by count alone, but a spread of them is given as candidate guards."""

    def history(self, root: Path, session: str, before: int, limit: int) -> Sequence[Turn]:
        """The last `limit` turns of a session before ordinal `before`, oldest first."""

    def turns(self, root: Path, session: str | None = None) -> Sequence[Turn]:
        """All turns of a small state folder (a trial box's), oldest first."""

    def check(self, root: Path) -> Probed:
        """For `moss doctor`: readable, its version, how much."""


# ------------------------------------------------------------------ coding agents


class CoderRole(StrEnum):
    """`editor` may write its work tree; `reviewer` and `planner` only read."""

    EDITOR = "editor"
    REVIEWER = "reviewer"
    PLANNER = "planner"


@dataclass(frozen=True, slots=True)
class CoderTask:
    """What one call of a coding agent is given. `schema` is the result's JSON Schema."""

    key: Key
    role: CoderRole
    stage: str
    iteration: int
    round: int
    prompt: str
    schema: Mapping[str, object]
    model: str | None = None
    resume: str | None = None


@dataclass(frozen=True, slots=True)
class CoderCommand:
    """How a program is started in a box. `files` go to the box's `in` place; the prompt goes to stdin unless the
    program cannot. Words may hold the placeholders of `BoxSpec`."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    files: Mapping[str, bytes]
    stdin: bytes


class EventKind(StrEnum):
    TEXT = "text"
    TOOL = "tool"
    FILE = "file"
    USAGE = "usage"
    RESULT = "result"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CoderEvent:
    """One uniform event of a coding agent's stream. `error` names a class of `errors.CoderError`/`ModelError`."""

    kind: EventKind
    text: str = ""
    result: Mapping[str, object] | None = None
    error: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    money_usd: float = 0.0
    session: str | None = None


class CodingAgent(Protocol):
    """A thin adapter of one program (at most 120 lines). All that programs share is in `engine.coding`."""

    name: str
    scripted: bool
    """True for stand-ins of tests and the demo; every output that shows its results says so."""

    def command(self, task: CoderTask, gateway_url: str, token: str) -> CoderCommand:
        """argv, environment and settings files: data, no shell."""

    def parse(self, line: bytes) -> Sequence[CoderEvent]:
        """Events of one line of its output. Never raises: what it cannot read is a TEXT event."""


# ------------------------------------------------------------------ judges, notifications


@dataclass(frozen=True, slots=True)
class Vote:
    """What one juror says. `quote` must be found in the evidence, else the vote is thrown out."""

    juror: str
    says: Literal["fixable", "limit_model", "limit_architecture"]
    because: str
    quote: str


class Judge(Protocol):
    """One juror."""

    name: str

    def limits(self, batch: Batch, lessons: Sequence[str], key: Key) -> Vote:
        """Whether any source change can fix the batch. Raises: ModelError."""

    def level(self, sentence: str, record: str, key: Key) -> tuple[int, str]:
        """The level (0..3) of a rubric sentence over a trial's record, with a quote. Raises: ModelError."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification. `id` is stable, so receivers can drop repeats."""

    id: str
    kind: str
    at: datetime
    run: RunId | None
    body: Mapping[str, object]


class Notifier(Protocol):
    name: str
    """Stable across restarts and free of secrets: the outbox remembers by it who took a notice."""

    def send(self, notice: Notice) -> None:
        """Delivers or raises any MossError: the outbox tries again with backoff."""


# ------------------------------------------------------------------ store


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
        self, run: RunId, seq: int, at: datetime, kind: str, event: Mapping[str, object], head: Head, claim: Claim | None
    ) -> Entry:
        """Adds entry number `seq` (1 for the first). Raises: SeqTaken, ClaimLost (`claim` no longer holds)."""

    def entries(self, run: RunId, after: int = 0, limit: int | None = None) -> Sequence[Entry]: ...

    def runs(self, *, active: bool | None = None, substrate: str | None = None, limit: int = 100, offset: int = 0) -> Sequence[RunRow]:
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
    ) -> int:
        """All of a scan's piece or nothing; how many failures were new. Exactly once by failure id.
        `counted`: turns that the piece passed, for `counts`. A turn that failed is no guard any more."""

    def amend(self, failure: Failure) -> bool:
        """Replaces what is kept of a failure that waits in the pool (its fingerprint and session stay as they are).
        False when none of its id waits there: nothing was changed."""

    def rejected(self, source: str, limit: int = 1000) -> Sequence[Rejected]:
        """Oldest first."""

    def drop_rejected(self, source: str, items: Sequence[Rejected]) -> None:
        """Forgets items that could be read after all. Absent is silent."""

    def failure(self, failure: FailureId) -> Failure | None: ...

    def failures(
        self, fingerprint: Fingerprint | None = None, session: str | None = None, unbatched: bool = False, limit: int = 100
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

    # small facts with a name: pause flag, adoption, used consents, revocations
    def fact(self, name: str) -> str | None: ...

    def set_fact(self, name: str, value: str | None, *, expect: str | None | Literal["any"] = "any") -> bool:
        """Sets it (None removes) when it still is `expect`; whether it was set."""

    def facts(self, prefix: str) -> Mapping[str, str]: ...
