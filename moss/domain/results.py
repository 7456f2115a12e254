"""Owns what each stage with a mind gives back: the closed schema that its answer is checked against.

The text in here comes from a coding agent: it is data, shown escaped, bounded, never parsed for meaning.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from moss.domain.frozen import Frozen

Line = Annotated[str, Field(max_length=500)]
Prose = Annotated[str, Field(max_length=8000)]


class Suspect(Frozen):
    """A place that may cause the failures. `rank` 1 is the likeliest."""

    rank: int = Field(ge=1, le=20)
    path: Line
    line: int = Field(ge=1)
    symbol: Line = ""
    why: Prose


class Located(Frozen):
    suspects: tuple[Suspect, ...] = Field(min_length=1, max_length=20)


class Prediction(Frozen):
    """What the plan says will be seen. `case` of the batch or empty for a general one."""

    says: Line
    case: Line = ""


class Plan(Frozen):
    summary: Prose
    cause: Prose
    steps: tuple[Prose, ...] = Field(min_length=1, max_length=20)
    files: tuple[Line, ...] = Field((), max_length=50)
    predictions: tuple[Prediction, ...] = Field((), max_length=10)
    risks: tuple[Line, ...] = Field((), max_length=10)


class Severity(StrEnum):
    BLOCKER = "blocker"
    MAJOR = "major"
    MINOR = "minor"
    NOTE = "note"


class ReviewFinding(Frozen):
    severity: Severity
    where: Line = ""
    reason: Prose


class PlanFault(StrEnum):
    """Why a plan is turned down: it misses the cause, or treats one case of several."""

    OFF_TARGET = "off_target"
    TOO_NARROW = "too_narrow"
    OTHER = "other"


class PlanReview(Frozen):
    accepted: bool
    fault: PlanFault | None = None
    reason: Prose = ""
    findings: tuple[ReviewFinding, ...] = Field((), max_length=20)


class Implemented(Frozen):
    summary: Prose
    notes: tuple[Line, ...] = Field((), max_length=20)


class CodeReview(Frozen):
    accepted: bool
    reason: Prose = ""
    findings: tuple[ReviewFinding, ...] = Field((), max_length=20)
