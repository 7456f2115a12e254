"""Owns how the keypoint matrix of a run is made: a run and its batch in, a `Matrix` out.

Never decides what is fixed: the words come from `assessment`, as the verdict itself uses it. Invariant: each case has
its standing beside it once at least, where it failed.
"""

from collections.abc import Mapping

from moss.domain.assessment import Assessment, Bench, assess, bench, keypoints
from moss.domain.batch import Batch
from moss.domain.case import Level
from moss.domain.grid import Matrix, MatrixRow
from moss.domain.ids import CaseId
from moss.domain.proof import Proof
from moss.domain.record import proof_of
from moss.domain.run import Run
from moss.domain.standing import Fix, Held, Tally, tallies
from moss.domain.stats import upper_bound

NONE = "-"
STANDING = {Fix.FIXED: "fixed", Fix.NOT_FIXED: "not fixed", Fix.UNDECIDED: "undecided"}


def matrix(run: Run, batch: Batch | None) -> Matrix:
    """`batch` None: retention dropped it; then keypoints are told by their ids."""
    proof = proof_of(run)
    against = bench(proof) if run.baseline else None
    tried = [assess(proof, one, against) for one in proof.iterations] if against else []
    tried = [one for one in tried if one.tried]
    columns = [tallies(proof.live, proof.base), *(one.tally for one in tried)]
    cases = against.cases if against and against.cases else proof.cases
    words = _sentences(batch)
    return Matrix(
        run=run.id,
        columns=("live", *(f"it-{one.proof.iteration}" for one in tried)),
        rows=tuple(row for case in cases for row in _rows(case, columns, _standing(case, tried), words)),
        guards=len(against.guards) if against else len(proof.guards),
        guards_ok=_guards(proof, against, columns),
        broken=len(tried[-1].held(Held.BROKEN)) if tried else 0,
        shaky=len(tried[-1].held(Held.SHAKY)) if tried else 0,
        below=_below(tried),
        left_out=run.baseline.not_reproduced if run.baseline else (),
        scripted=run.started.scripted,
    )


def _rows(
    case: CaseId,
    columns: list[Mapping[CaseId, Tally]],
    standing: str,
    words: Mapping[tuple[CaseId, str], str],
) -> list[MatrixRow]:
    found = [column.get(case, Tally()) for column in columns]
    points = keypoints(*found) or tuple(point for known, point in words if known == case)
    failed = [point for point in points if _fails(found[0], point)] or list(points[:1])
    return [
        MatrixRow(
            case=case,
            keypoint=point,
            says=words.get((case, point), point),
            cells=tuple(_level(tally, point) for tally in found),
            standing=standing,
            mark=standing if point in failed else "",
        )
        for point in points
    ]


def _fails(tally: Tally, point: str) -> bool:
    worst = tally.worst(point)
    return worst is not None and worst < Level.ADEQUATE


def _level(tally: Tally, point: str) -> str:
    worst = tally.worst(point)
    return NONE if worst is None else Level(worst).name.lower()


def _standing(case: CaseId, tried: list[Assessment]) -> str:
    return STANDING[tried[-1].fixes[case]] if tried and case in tried[-1].fixes else ""


def _guards(proof: Proof, against: Bench | None, columns: list[Mapping[CaseId, Tally]]) -> tuple[str, ...]:
    """`6/6` a column: guards that pass every valid trial, of those that were tried."""
    guards = against.guards if against else proof.guards
    return tuple(_held(column, guards) for column in columns)


def _held(column: Mapping[CaseId, Tally], guards: tuple[CaseId, ...]) -> str:
    seen = [column[guard] for guard in guards if guard in column and column[guard].valid]
    return f"{sum(not tally.failed for tally in seen)}/{len(seen)}" if seen else NONE


def _below(tried: list[Assessment]) -> float | None:
    if not tried:
        return None
    one = tried[-1]
    seen = [guard for guard in one.guards if one.tally[guard].valid]
    return upper_bound(len(one.held(Held.BROKEN)) + len(one.held(Held.SHAKY)), len(seen)) if seen else None


def _sentences(batch: Batch | None) -> Mapping[tuple[CaseId, str], str]:
    if batch is None:
        return {}
    return {(case.id, point.id): point.says for case in batch.cases for point in case.keypoints}
