"""Owns the keypoint matrix: rows (case, keypoint), columns (live version, iteration 1, 2, ...). Values, no layout.

Never judges: levels, counts and words come from `assessment`. Invariant: every cell is the worst valid trial's level,
so nothing in it looks better than what was proven.
"""

from collections.abc import Sequence

from moss.domain.assessment import Assessment, Bench, assess, bench
from moss.domain.case import Case, Level
from moss.domain.frozen import Frozen
from moss.domain.ids import CaseId
from moss.domain.proof import Proof
from moss.domain.standing import Held
from moss.domain.stats import upper_bound


class Row(Frozen):
    """One keypoint of one case. `levels` has one for each column, None where no valid trial was.

    `word` stands on a case's first row and says how it is on the last iteration: fixed, better, worse or nothing.
    """

    case: CaseId
    keypoint: str
    says: str
    levels: tuple[Level | None, ...]
    word: str = ""


class GuardColumn(Frozen):
    """How many of the guards that were tried held on one version, shaky ones included."""

    held: int
    of: int

    def __str__(self) -> str:
        return f"{self.held}/{self.of}"


class GuardLine(Frozen):
    """All guards as one line; they are never listed where a coding agent could read it.

    `breakage_below`: the exact one-sided 95 % bound on turns like these, a shaky guard counted as broken.
    """

    guards: int
    columns: tuple[GuardColumn, ...]
    broken: int = 0
    shaky: int = 0
    breakage_below: float | None = None

    @property
    def words(self) -> str:
        """`0 broken (turns like these: below 39 %)`."""
        shaky = f", {self.shaky} shaky" if self.shaky else ""
        bound = "" if self.breakage_below is None else f" (turns like these: below {self.breakage_below * 100:.0f} %)"
        return f"{self.broken} broken{shaky}{bound}"


class Matrix(Frozen):
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    guards: GuardLine


def matrix(proof: Proof, cases: Sequence[Case]) -> Matrix:
    """The matrix of all that is on record. `cases` are the batch's, for what their keypoints say."""
    against = bench(proof)
    history = [assess(proof, iteration, against) for iteration in proof.iterations]
    return Matrix(
        columns=("live", *(f"it-{one.proof.iteration}" for one in history)),
        rows=tuple(row for case in cases if case.id in against.cases for row in _rows(case, against, history)),
        guards=_guards(against, history),
    )


def _rows(case: Case, against: Bench, history: Sequence[Assessment]) -> list[Row]:
    tallies = [against.on_live(case.id), *(one.tally[case.id] for one in history)]
    word = _word(case.id, history[-1]) if history else ""
    return [
        Row(
            case=case.id,
            keypoint=point.id,
            says=point.says,
            levels=tuple(tally.worst(point.id) for tally in tallies),
            word="" if at else word,
        )
        for at, point in enumerate(case.keypoints)
    ]


def _word(case: CaseId, last: Assessment) -> str:
    for word, cases in (("fixed", last.fixed), ("worse", last.worse), ("better", last.better)):
        if case in cases:
            return word
    return ""


def _guards(against: Bench, history: Sequence[Assessment]) -> GuardLine:
    admitted = len(against.guards)
    columns = [GuardColumn(held=admitted, of=admitted), *(_column(one) for one in history)]
    if not history:
        return GuardLine(guards=admitted, columns=tuple(columns))
    last, tried = history[-1], columns[-1].of
    broken, shaky = len(last.held(Held.BROKEN)), len(last.held(Held.SHAKY))
    return GuardLine(
        guards=admitted,
        columns=tuple(columns),
        broken=broken,
        shaky=shaky,
        breakage_below=upper_bound(broken + shaky, tried) if tried else None,
    )


def _column(one: Assessment) -> GuardColumn:
    tried = len(one.guards) - len(one.held(Held.UNDECIDED))
    return GuardColumn(held=tried - len(one.held(Held.BROKEN)), of=tried)
