"""Owns the words of the journal: stages, outcomes, what performing a step gives, and the events.

Never decides or folds anything. Invariant: an event carries what was decided when it was recorded, the next step
included, so old events mean the same under newer code. Each has a version; new fields have defaults.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from moss.domain.budget import Budget, Spend
from moss.domain.consent import Consent, Statement
from moss.domain.depth import Depth
from moss.domain.frozen import Frozen
from moss.domain.ids import ApproverName, BatchId, CaseId, CommitId, Digest, Key, RunId
from moss.domain.results import CodeReview, Located, Plan, PlanReview
from moss.domain.swap import Phase, PhaseResult, Swap, Turned
from moss.domain.trial import Trial
from moss.domain.verdict import Baseline, Verdict


class Stage(StrEnum):
    BASELINE = "baseline"
    LOCATE = "locate"
    PLAN = "plan"
    PLAN_REVIEW = "plan_review"
    IMPLEMENT = "implement"
    CODE_REVIEW = "code_review"
    BUILD = "build"
    CHECK = "check"
    TRIAL = "trial"
    EVALUATE = "evaluate"
    VERDICT = "verdict"
    CONSENT = "consent"
    PREFLIGHT = "preflight"
    SWAP = "swap"
    SOAK = "soak"


MIND_STAGES = (Stage.LOCATE, Stage.PLAN, Stage.PLAN_REVIEW, Stage.IMPLEMENT, Stage.CODE_REVIEW)
"""those that a coding agent performs"""
REWINDABLE = (Stage.BASELINE, *MIND_STAGES, Stage.BUILD, Stage.CHECK, Stage.TRIAL, Stage.EVALUATE)
"""those that a run can start again from"""
SHOWN_STAGES = tuple(stage for stage in Stage if stage is not Stage.EVALUATE)
"""those that a person follows: the votes are a part of the verdict"""


class Outcome(StrEnum):
    """How a run ends (design 3)."""

    REJECTED = "rejected"
    EXPIRED = "expired"
    STALE = "stale"
    UNFIT = "unfit"
    LIMIT_MODEL = "limit_model"
    LIMIT_ARCHITECTURE = "limit_architecture"
    NO_IMPROVEMENT = "no_improvement"
    NOT_REPRODUCED = "not_reproduced"
    OUT_OF_BUDGET = "out_of_budget"
    STOPPED = "stopped"
    FAILED = "failed"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    REVERTED = "reverted"


class Step(Frozen):
    """The address of one thing to do. `attempt` counts retries after an error, `epoch` rewinds of the run."""

    stage: Stage
    iteration: int = 0
    round: int = 1
    attempt: int = 1
    epoch: int = 0

    def key(self, run: RunId) -> Key:
        """`ev-01/1/plan/2`; retries and rewinds have keys of their own, since their boxes are others."""
        again = f".{self.attempt}" if self.attempt > 1 else ""
        epoch = f"+{self.epoch}" if self.epoch else ""
        return Key(f"{run}{epoch}/{self.iteration}/{self.stage}/{self.round}{again}")


class Version(Frozen):
    """A version of the substrate: a commit and the image built from it."""

    commit: CommitId
    image: Digest
    name: str
    registry: str | None = None


# ------------------------------------------------------------------ what performing a step gives


class CheckResult(Frozen):
    """The substrate's own tests in a box. `ok` by the exit code; the counts where the output tells them."""

    kind: Literal["check"] = "check"
    ok: bool
    ran: bool = Field(True, description="false: no check is configured")
    passed: int | None = None
    failed: int | None = None
    tail: str = Field("", max_length=20_000)


class BaselineResult(Frozen):
    """One wave of trials on the live version; the first also runs the substrate's own check on it."""

    kind: Literal["baseline"] = "baseline"
    ran: int
    short: str | None = None
    check: CheckResult | None = None


class LocateResult(Frozen):
    kind: Literal["locate"] = "locate"
    located: Located


class PlanResult(Frozen):
    kind: Literal["plan"] = "plan"
    plan: Plan


class PlanReviewResult(Frozen):
    kind: Literal["plan_review"] = "plan_review"
    review: PlanReview


class ImplementResult(Frozen):
    """`commit` None: the policy refused it (`breaches`) or nothing was changed."""

    kind: Literal["implement"] = "implement"
    commit: CommitId | None
    diff: Digest | None = Field(None, description="artifact: the patch against the run's base")
    files: int = 0
    added: int = 0
    removed: int = 0
    summary: str = ""
    breaches: tuple[str, ...] = ()


class CodeReviewResult(Frozen):
    kind: Literal["code_review"] = "code_review"
    review: CodeReview


class BuildResult(Frozen):
    """`version` None: it does not build, `tail` is the log's end."""

    kind: Literal["build"] = "build"
    version: Version | None
    log: Digest | None = None
    tail: str = Field("", max_length=20_000)


class TrialsResult(Frozen):
    """The trials themselves are events of their own; `short` is the budget's sentence where not all could run."""

    kind: Literal["trials"] = "trials"
    ran: int
    short: str | None = None


class JurorVote(Frozen):
    juror: str
    says: Literal["fixable", "limit_model", "limit_architecture"]
    because: str = ""
    quote: str = ""
    quote_found: bool = False


class EvaluateResult(Frozen):
    kind: Literal["evaluate"] = "evaluate"
    votes: tuple[JurorVote, ...] = ()


class VerdictAsked(Frozen):
    """The verdict stage performs nothing: the verdict is a pure function of what is on record."""

    kind: Literal["verdict"] = "verdict"


class PreflightResult(Frozen):
    kind: Literal["preflight"] = "preflight"
    ok: bool
    skipped: bool = False
    live: Digest
    refusal: str | None = Field(None, description="a consent that is no longer good")
    because: str = ""
    said: str = Field("", description="the last line that an unfit candidate wrote, redacted: its own words")
    ready_seconds: float | None = None


class SwapResult(Frozen):
    """What one phase of the swap showed, and which it was."""

    kind: Literal["swap"] = "swap"
    phase: PhaseResult
    performed: Phase | None = None


class SoakLook(Frozen):
    """One look at the soak. `over`: its time is up; `bad`: worse than before, with the reason."""

    kind: Literal["soak"] = "soak"
    over: bool
    bad: str | None = None
    seen: int = Field(0, description="turns that the evidence knew at this look, all in all")
    turns: int = Field(0, description="turns since the first look")
    recurred: int = 0


class StepFailed(Frozen):
    """Performing a step raised: the error's class and policy, as the engine read them from the one table."""

    kind: Literal["failed"] = "failed"
    error: str
    sentence: str
    then: str
    retries: int


Result = Annotated[
    BaselineResult
    | LocateResult
    | PlanResult
    | PlanReviewResult
    | ImplementResult
    | CodeReviewResult
    | BuildResult
    | CheckResult
    | TrialsResult
    | EvaluateResult
    | VerdictAsked
    | PreflightResult
    | SwapResult
    | SoakLook
    | StepFailed,
    Field(discriminator="kind"),
]


# ------------------------------------------------------------------ events


class Started(Frozen):
    kind: Literal["started"] = "started"
    version: int = 1
    run: RunId
    substrate: str
    batch: BatchId
    label: str
    evidence: Digest
    policy: Digest
    pinned: dict[str, Digest] = Field({}, description="section of moss.toml -> hash of what the proof stands on")
    base: Version
    cases: tuple[CaseId, ...]
    guards: tuple[CaseId, ...]
    depth: Depth
    budget: Budget
    reserve: dict[Stage, Spend] = Field({}, description="what one step of a stage reserves")
    scripted: tuple[str, ...] = Field((), description="roles and models that are scripted stand-ins")
    coder: str | None = Field(None, description="the coder of every role, where `moss start --coder` named one")
    by: str
    approvals: int = 1
    consent_hours: float = 24.0
    soak_hours: float = 24.0
    preflight: bool = True
    anyway: bool = Field(False, description="limit votes do not end this run")
    next: Step


class Reserved(Frozen):
    """`amount` may be spent under `key` from now on. Settled by the step's own end."""

    kind: Literal["reserved"] = "reserved"
    version: int = 1
    key: Key
    amount: Spend


class TrialEnded(Frozen):
    """A trial of a wave ended. Its own cost is spent with this event, not with the wave's `StepDone`."""

    kind: Literal["trial"] = "trial"
    version: int = 1
    step: Step
    trial: Trial


class StepDone(Frozen):
    """A step ended: what it gave, what it cost, what was decided. `next` None only where `outcome` is set."""

    kind: Literal["done"] = "done"
    version: int = 1
    step: Step
    key: Key
    result: Result
    spent: Spend = Spend()
    seconds: float = 0.0
    prompt: Digest | None = Field(None, description="hash of the prompt file that the stage used")
    transcript: Digest | None = Field(None, description="artifact: what the coding agent was told and said, redacted")
    baseline: Baseline | None = None
    verdict: Verdict | None = None
    statement: Statement | None = None
    swap: Swap | None = Field(None, description="a swap that begins with this event")
    turned: Turned | None = None
    next: Step | None
    outcome: Outcome | None = None
    says: str = ""


class Consented(Frozen):
    """A signature arrived and was good. `enough`: all that are needed are there."""

    kind: Literal["consented"] = "consented"
    version: int = 1
    consent: Consent
    approver: ApproverName
    enough: bool
    next: Step | None


class StopAsked(Frozen):
    kind: Literal["stop_asked"] = "stop_asked"
    version: int = 1
    by: str


class Moved(Frozen):
    """A person moved the run: resumed it where it stopped, or rewound it to an earlier stage."""

    kind: Literal["moved"] = "moved"
    version: int = 1
    what: Literal["resumed", "rewound"]
    by: str
    budget: Budget | None = None
    anyway: bool | None = None
    next: Step


class UndoAsked(Frozen):
    """The operator takes back what this run made live."""

    kind: Literal["undo_asked"] = "undo_asked"
    version: int = 1
    by: str
    because: str
    swap: Swap
    next: Step


class Ended(Frozen):
    kind: Literal["ended"] = "ended"
    version: int = 1
    outcome: Outcome
    because: str


Event = Annotated[
    Started | Reserved | TrialEnded | StepDone | Consented | StopAsked | Moved | UndoAsked | Ended,
    Field(discriminator="kind"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def read_event(body: dict[str, Any]) -> Event:
    """An event from its journal form. Raises: pydantic.ValidationError for one of a newer MOSS."""
    return EVENT.validate_python(body)
