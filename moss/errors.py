"""Owns every error of MOSS and the one policy table.

    MossError
    ├── UserError            a person's mistake: one sentence, place, mend                 exit 2
    │   └── Absent           what it names is not there
    ├── Refused              a rule said no; nothing was changed                           exit 1
    │   ├── Forbidden        the caller's role may not do it
    │   ├── SettingsChanged  moss.toml is not what the run began with
    │   └── NotKnown         the caller's token is none of this home's
    ├── StoreError           StoreFull · StoreReadOnly · StoreBroken · NewerSchema
    │   ├── ClaimLost        another controller holds the run
    │   └── SeqTaken         another writer appended first
    ├── BoxError             BoxLost (gone, not failed) · BoxRefused (launch impossible)
    ├── GraderBroken         a grader gave no verdict                                      the trial is invalid
    ├── GatewayError         GatewayDown · TokenRefused
    ├── ModelError           ModelDown (5xx, no answer) · ModelLimited (429) · ModelKeyDead (401, 403)
    ├── CoderError           CoderHung · CoderRefused · CoderEmpty · CoderInvalid · CoderBudget · CoderFailed
    ├── BuildError           BuildFailed (the candidate's fault) · BuildBroken (ours: disk, engine, base)
    ├── TargetError          NotExpected (stale) · TargetDown
    ├── NotifyError          a notice was not taken; the outbox tries again
    └── NoSpace              the free-space watermark

Errors are classified only from what MOSS's own parts emitted, never from a model's, a tool's or a transcript's text.
"""

from dataclasses import dataclass
from enum import StrEnum


class MossError(Exception):
    """Root of the tree. `str(error)` is one sentence for a person."""


class UserError(MossError):
    """A person's mistake. `where` is the place (`moss.toml:14 live.container`), `mend` what to do."""

    def __init__(self, sentence: str, *, where: str | None = None, mend: str | None = None) -> None:
        super().__init__(f"{where}: {sentence}" if where else sentence)
        self.sentence, self.where, self.mend = sentence, where, mend


class Refused(MossError):
    """A rule said no; nothing was changed."""

    def __init__(self, sentence: str, *, mend: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence, self.mend = sentence, mend


class Absent(UserError):
    """What the person named is not there; `mend` names the nearest that is."""


class Forbidden(Refused):
    """The rights table does not let the caller's role do it."""


class SettingsChanged(Refused):
    """What `moss.toml` says is not what the run began with: its proof would be none."""


class NotKnown(Refused):
    """The caller showed no token, or one that is none of this home's."""


class StoreError(MossError):
    """The store could not do it; nothing was half done."""


class StoreFull(StoreError):
    pass


class StoreReadOnly(StoreError):
    pass


class StoreBroken(StoreError):
    pass


class NewerSchema(StoreError):
    """The store was written by a newer MOSS."""


class ClaimLost(StoreError):
    pass


class SeqTaken(StoreError):
    pass


class BoxError(MossError):
    pass


class BoxLost(BoxError):
    """The box went away by no doing of its program: evicted, removed, OOM of the node. Never a failed trial."""


class BoxRefused(BoxError):
    """The box cannot be launched: no such image, no right, a capability that failed its probe."""


class GraderBroken(MossError):
    """A grader program ended with none of its exit codes: it says nothing of the candidate."""


class GatewayError(MossError):
    pass


class GatewayDown(GatewayError):
    pass


class TokenRefused(GatewayError):
    pass


class ModelError(MossError):
    pass


class ModelDown(ModelError):
    pass


class ModelLimited(ModelError):
    pass


class ModelKeyDead(ModelError):
    pass


class CoderError(MossError):
    pass


class CoderHung(CoderError):
    pass


class CoderRefused(CoderError):
    """The model declined (content filter)."""


class CoderEmpty(CoderError):
    """No result, no change, no word."""


class CoderInvalid(CoderError):
    """The result does not fit its schema, twice."""


class CoderBudget(CoderError):
    pass


class CoderFailed(CoderError):
    pass


class BuildError(MossError):
    pass


class BuildFailed(BuildError):
    """The candidate does not build; its log's tail is the feedback."""


class BuildBroken(BuildError):
    """The builder broke (disk, engine, base image): nothing is said about the candidate."""


class TargetError(MossError):
    pass


class NotExpected(TargetError):
    """What runs is not what was expected: somebody else replaced it."""


class TargetDown(TargetError):
    pass


class NotifyError(MossError):
    """A receiver did not take a notice."""


class NoSpace(MossError):
    """Less free space than the watermark."""


class Cause(StrEnum):
    CANDIDATE = "candidate"
    INFRASTRUCTURE = "infrastructure"
    UPSTREAM = "upstream"
    CODER = "coder"
    STORE = "store"
    OPERATOR = "operator"


class Then(StrEnum):
    """What the controller does after the retries."""

    FEEDBACK = "feedback"
    """back to the coding agent as the next iteration's feedback"""
    INVALID = "invalid"
    """the trial is invalid and rerun within the budget"""
    FAIL_RUN = "fail_run"
    OUT_OF_BUDGET = "out_of_budget"
    ASK_OPERATOR = "ask_operator"
    STALE = "stale"
    DROP_CLAIM = "drop_claim"


@dataclass(frozen=True, slots=True)
class Policy:
    """What an error means. `retries` counts within one stage; `counts`: against the candidate."""

    cause: Cause
    retries: int
    counts: bool
    then: Then


POLICY: dict[type[MossError], Policy] = {
    UserError: Policy(Cause.OPERATOR, 0, False, Then.ASK_OPERATOR),
    StoreFull: Policy(Cause.STORE, 0, False, Then.DROP_CLAIM),
    StoreReadOnly: Policy(Cause.STORE, 0, False, Then.DROP_CLAIM),
    StoreBroken: Policy(Cause.STORE, 0, False, Then.DROP_CLAIM),
    NewerSchema: Policy(Cause.STORE, 0, False, Then.DROP_CLAIM),
    ClaimLost: Policy(Cause.STORE, 0, False, Then.DROP_CLAIM),
    SeqTaken: Policy(Cause.STORE, 0, False, Then.DROP_CLAIM),
    SettingsChanged: Policy(Cause.OPERATOR, 0, False, Then.ASK_OPERATOR),
    BoxLost: Policy(Cause.INFRASTRUCTURE, 2, False, Then.INVALID),
    GraderBroken: Policy(Cause.OPERATOR, 2, False, Then.INVALID),
    BoxRefused: Policy(Cause.INFRASTRUCTURE, 0, False, Then.ASK_OPERATOR),
    GatewayError: Policy(Cause.INFRASTRUCTURE, 0, False, Then.INVALID),
    GatewayDown: Policy(Cause.INFRASTRUCTURE, 3, False, Then.INVALID),
    TokenRefused: Policy(Cause.INFRASTRUCTURE, 0, False, Then.FAIL_RUN),
    ModelError: Policy(Cause.UPSTREAM, 0, False, Then.INVALID),
    ModelDown: Policy(Cause.UPSTREAM, 3, False, Then.INVALID),
    ModelLimited: Policy(Cause.UPSTREAM, 5, False, Then.INVALID),
    ModelKeyDead: Policy(Cause.UPSTREAM, 0, False, Then.ASK_OPERATOR),
    CoderHung: Policy(Cause.CODER, 1, False, Then.FAIL_RUN),
    CoderRefused: Policy(Cause.CODER, 1, False, Then.FAIL_RUN),
    CoderEmpty: Policy(Cause.CODER, 1, False, Then.FAIL_RUN),
    CoderInvalid: Policy(Cause.CODER, 0, False, Then.FAIL_RUN),
    CoderBudget: Policy(Cause.CODER, 0, False, Then.OUT_OF_BUDGET),
    CoderFailed: Policy(Cause.CODER, 1, False, Then.FAIL_RUN),
    BuildFailed: Policy(Cause.CANDIDATE, 0, True, Then.FEEDBACK),
    BuildBroken: Policy(Cause.INFRASTRUCTURE, 1, False, Then.ASK_OPERATOR),
    NotExpected: Policy(Cause.OPERATOR, 0, False, Then.STALE),
    TargetDown: Policy(Cause.INFRASTRUCTURE, 2, False, Then.ASK_OPERATOR),
    NoSpace: Policy(Cause.INFRASTRUCTURE, 0, False, Then.ASK_OPERATOR),
}


def policy_of(error: BaseException) -> Policy:
    """The policy of an error: its own row or the nearest ancestor's; an unknown error fails the run."""
    for kind in type(error).__mro__:
        if kind in POLICY:
            return POLICY[kind]
    return Policy(Cause.INFRASTRUCTURE, 0, False, Then.FAIL_RUN)
