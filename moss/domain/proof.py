"""Owns what the verdict looks at: trials on the live version and on every iteration, the votes, the rules.

Never decides anything (see `standing` for a case, `verdict` for an iteration).
Invariant: a trial counts for the version that it names and by its key once, wherever it stands in a list.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from moss.domain.depth import Dial
from moss.domain.frozen import Frozen
from moss.domain.ids import CaseId, CommitId, Digest
from moss.domain.trial import Trial

FEWEST_GUARDS = 3
"""Nothing is offered with fewer admitted guards than this, or than there are cases."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The bounds a run works in. `trials` is the n of design 7.

    `budget_left`: another trial may be paid. `anyway`: the operator told the run to go on against the votes.
    """

    trials: int
    iterations: int
    plateau: int
    budget_left: bool = True
    anyway: bool = False

    @classmethod
    def of(cls, dial: Dial, *, budget_left: bool = True, anyway: bool = False) -> "Rules":
        return cls(dial.trials, dial.iterations, dial.plateau, budget_left, anyway)

    @property
    def invalid_limit(self) -> int:
        """Invalid trials of one case on one version after which asking for more is no budget any more."""
        return 3 * self.trials


class LimitVote(Frozen):
    """One juror's word on whether any source change can fix the batch.

    `quote_found`: what it quotes was looked up and is in the evidence.
    """

    juror: str
    says: Literal["fixable", "limit_model", "limit_architecture"]
    quote_found: bool


class IterationProof(Frozen):
    """What one iteration made and what its trials showed.

    `commit` and `version` are None where the iteration came to no candidate. `refusals` are the reasons of
    what is not ok, as the coding agent gets them back: policy findings, the build's tail, failed checks.
    """

    iteration: int = Field(ge=1)
    commit: CommitId | None = None
    version: Digest | None = Field(None, description="image digest")
    policy_ok: bool = True
    build_ok: bool = True
    check_ok: bool = True
    diff_lines: int = Field(ge=0, description="added and removed lines against the base")
    refusals: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()


class Wanted(Frozen):
    """`more` further valid trials of a case on a version are missing.

    `live_from`: in a world whose recording ends before that request: a real model answers it and what follows.
    """

    case: CaseId
    version: Digest
    more: int = Field(ge=1)
    live_from: int | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """All evidence of a run so far: `live` are the trials on `base`; of `iterations` the last is judged."""

    cases: tuple[CaseId, ...]
    guards: tuple[CaseId, ...]
    base: Digest
    rules: Rules
    live: tuple[Trial, ...] = ()
    iterations: tuple[IterationProof, ...] = ()
    votes: tuple[LimitVote, ...] = ()

    @property
    def last(self) -> IterationProof:
        """The iteration that is judged."""
        return self.iterations[-1]


def guards_needed(cases: int) -> int:
    """How many admitted guards a batch of that many reproduced cases needs."""
    return max(FEWEST_GUARDS, cases)
