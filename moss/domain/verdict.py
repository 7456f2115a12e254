"""Owns the verdict: what is said of the live version at the baseline and of each iteration after its trials.

Never runs a trial and never sees a clock: the six rows of design 7 over the evidence, the first that holds decides.
Invariants: a candidate that row 2 forbids is never chosen; a vote can end a run, never promote.
"""

from enum import StrEnum

from pydantic import Field

from moss.domain.frozen import Frozen
from moss.domain.ids import CaseId, Digest
from moss.domain.proof import IterationProof, LimitVote, Proof, Rules

__all__ = [
    "Baseline",
    "IterationProof",
    "LimitVote",
    "Next",
    "Numbers",
    "Proof",
    "Rules",
    "Verdict",
    "VerdictKind",
    "Wanted",
    "baseline",
    "best",
    "judge",
]


class VerdictKind(StrEnum):
    CONVERGED = "CONVERGED"
    NEED_MORE_WORK = "NEED_MORE_WORK"
    FUNDAMENTAL_LIMIT_MODEL = "FUNDAMENTAL_LIMIT_MODEL"
    FUNDAMENTAL_LIMIT_ARCHITECTURE = "FUNDAMENTAL_LIMIT_ARCHITECTURE"


class Next(StrEnum):
    """What follows. The last six are run outcomes by the same word."""

    TRIALS = "trials"
    ITERATE = "iterate"
    CONSENT = "consent"
    LIMIT_MODEL = "limit_model"
    LIMIT_ARCHITECTURE = "limit_architecture"
    NO_IMPROVEMENT = "no_improvement"
    NOT_REPRODUCED = "not_reproduced"
    OUT_OF_BUDGET = "out_of_budget"
    FAILED = "failed"
    """too few guards hold on the live version: nothing could ever be offered"""


class Wanted(Frozen):
    """`more` further trials of a case on a version: so many valid ones are missing."""

    case: CaseId
    version: Digest
    more: int = Field(ge=1)


class Numbers(Frozen):
    """The figures a verdict stands on, for the review. `p` is over the cases in a live world, None without one.

    `breakage_below` is the exact one-sided 95 % upper bound on the rate of turns like the guards that break.
    """

    cases: int = 0
    fixed: int = 0
    guards: int = 0
    broken: int = 0
    shaky: int = 0
    valid: int = 0
    invalid: int = 0
    p: float | None = None
    breakage_below: float | None = None


class Baseline(Frozen):
    """What the trials on the live version say. `wanted` non-empty: not decided yet (`next` is trials)."""

    reproduced: tuple[CaseId, ...]
    not_reproduced: tuple[CaseId, ...]
    admitted: tuple[CaseId, ...]
    not_admitted: tuple[CaseId, ...]
    wanted: tuple[Wanted, ...]
    next: Next
    reason: str


class Verdict(Frozen):
    """What is said of iteration `iteration`. `row` is the row of design 7 that decided.

    `kind` is None while trials are missing (row 1). `chosen`: the iteration that is offered for consent.
    `start_from`: the iteration whose commit the next one starts from, None for the base.
    `fixed`, `unfixed`: cases of the chosen iteration, of the judged one where none is chosen.
    `feedback`: lines for the coding agent; they never tell what a guard is.
    """

    iteration: int
    row: int = Field(ge=1, le=6)
    kind: VerdictKind | None
    next: Next
    reason: str
    partial: bool = False
    chosen: int | None = None
    start_from: int | None = None
    fixed: tuple[CaseId, ...] = ()
    unfixed: tuple[CaseId, ...] = ()
    shaky: tuple[CaseId, ...] = ()
    feedback: tuple[str, ...] = ()
    wanted: tuple[Wanted, ...] = ()
    numbers: Numbers = Numbers()


def baseline(proof: Proof) -> Baseline:
    """Which cases reproduce on the live version and which guards are admitted; looks at `proof.live` only."""
    raise NotImplementedError


def judge(proof: Proof) -> Verdict:
    """The verdict on the last iteration of `proof`, whose baseline is decided."""
    raise NotImplementedError


def best(proof: Proof) -> IterationProof | None:
    """The iteration with the highest score that row 2 does not forbid and that beats the live version, else None."""
    raise NotImplementedError
