"""Owns what one trial showed. Never decides whether a case is fixed (see `verdict`)."""

from enum import StrEnum

from pydantic import Field

from moss.domain.case import Level
from moss.domain.evidence import Exchange, Finding, Turn
from moss.domain.frozen import Frozen
from moss.domain.ids import CaseId, Digest, Key


class WorldKind(StrEnum):
    """`replayed`: every answer was recorded or scripted; `live`: a real model spoke at least once."""

    REPLAYED = "replayed"
    LIVE = "live"


class Answer(Frozen):
    """What the client got for a turn. `text` is the agent's words; `body` the raw answer, cut at 1 MiB."""

    status: int | None = None
    text: str = ""
    body: str = ""
    exit_code: int | None = None
    seconds: float = 0.0
    error: str | None = Field(None, description="no answer: refused, reset, timed out")


class Observation(Frozen):
    """All that was seen of one trial, from outside first. The input of every machine check."""

    answer: Answer
    turn: Turn | None = Field(None, description="the turn as the evidence source reads it from the box's state")
    exchanges: tuple[Exchange, ...] = ()
    files: dict[str, str] = Field({}, description="relative path -> text (cut at 64 KiB) of files that checks name")
    graded: dict[str, int] = Field({}, description="grader keypoint id -> exit code of the grader")
    findings: tuple[Finding, ...] = Field((), description="what the detectors say of `turn`")


class Mark(Frozen):
    """The level of one keypoint in one trial, with the reason."""

    keypoint: str
    level: Level
    because: str = ""


class Trial(Frozen):
    """One replay of one case on one version in one ephemeral box.

    `valid=False`: the box was lost, the gateway failed, a model answered 5xx of its own, a grader broke.
    """

    key: Key
    case: CaseId
    version: Digest = Field(description="image digest")
    repeat: int = Field(ge=1)
    valid: bool
    passed: bool = False
    marks: tuple[Mark, ...] = ()
    world: WorldKind = WorldKind.REPLAYED
    diverged_at: int | None = Field(None, description="ordinal of the first request that was not in the recording")
    live_from: int | None = Field(
        None, description="ordinal from which a real model was to answer, as it did a candidate that left the recording"
    )
    changed_lines_ran: bool | None = Field(None, description="None where the substrate cannot tell")
    seconds: float = 0.0
    invalid_because: str | None = None
    record: Digest | None = Field(None, description="artifact: the Observation")
    tokens: int = 0
    money_usd: float = 0.0
