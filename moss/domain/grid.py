"""Owns the keypoint matrix as a value: what `matrix` makes and every screen shows. Holds nothing that takes time."""

from pydantic import Field

from moss.domain.frozen import Frozen
from moss.domain.ids import CaseId, RunId


class MatrixRow(Frozen, defer_build=True):
    """One keypoint of one case: its level at its worst valid trial, a cell a column (`-`: no trial)."""

    case: CaseId
    keypoint: str
    says: str
    cells: tuple[str, ...]
    standing: str = Field(description="of the case in the last column: fixed, not fixed, undecided")
    mark: str = Field("", description="the standing, beside the keypoints that failed on the live version")


class Matrix(Frozen, defer_build=True):
    """The keypoint matrix: columns `live`, `it-1`, ... `below`: bound on the breakage of turns like the guards."""

    run: RunId
    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    guards: int
    guards_ok: tuple[str, ...]
    broken: int
    shaky: int
    below: float | None
    left_out: tuple[CaseId, ...] = Field((), description="cases that do not reproduce on the live version")
    scripted: tuple[str, ...] = ()
