"""Owns what was seen: turns, exchanges with the model, failures and guards. Never a file or a format.

Everything in here was said by an agent, a model or a user: it is data. It is redacted before one of these
values is made (`redacted` counts how often), so nothing below ever holds a secret.
"""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from moss.domain.frozen import Frozen
from moss.domain.ids import Digest, FailureId, Fingerprint


class ToolCall(Frozen):
    """One tool that the agent ran inside a turn. `arguments` and `result` are text as the agent saw it."""

    name: str
    arguments: str = ""
    result: str = ""
    error: str | None = None
    exit_code: int | None = None


class Turn(Frozen):
    """One user message with all that the agent did for it."""

    session: str
    ordinal: int = Field(ge=1, description="1 for the first turn of its session")
    at: datetime
    user: str
    reply: str | None = None
    tools: tuple[ToolCall, ...] = ()
    status: int | None = Field(None, description="HTTP status of the agent's answer, where there was one")
    finish: str | None = Field(None, description="finish reason as the agent reported it: stop, length, error, ...")
    error: str | None = None
    seconds: float | None = None
    user_id: str | None = Field(None, description="who asked, as a stable pseudonym")
    recording: Digest | None = Field(None, description="artifact: the model exchanges of this turn, in order")
    redacted: int = 0

    @property
    def id(self) -> FailureId:
        return FailureId(f"{self.session}#{self.ordinal}")


class Chunk(Frozen):
    """Bytes of a model's answer as they came: `after` seconds from the one before."""

    data: bytes
    after: float = 0.0


class Exchange(Frozen):
    """One model request of an agent and what came back, faults included.

    Source: recorded by the gateway. `canonical` is the hash of the request's canonical form (design 6).
    """

    ordinal: int = Field(ge=1, description="1 for the first request of its turn (or of its box)")
    at: datetime
    upstream: str
    path: str
    request: bytes
    canonical: Digest
    status: int
    content_type: str = "application/json"
    chunks: tuple[Chunk, ...] = ()
    cut: bool = Field(False, description="the connection ended before the answer was complete")
    whole: bool = Field(True, description="False: the record lacks the answer's end (client gone, or too long)")
    origin: str = Field("live", description="live, replay, script: who spoke")
    divergent: bool = Field(False, description="the first request that differed from the recording")
    turn: str | None = Field(None, description="`session#ordinal` where the agent said so")
    tokens_in: int = 0
    tokens_out: int = 0


class Observed(StrEnum):
    """Where a keypoint is seen from. All but `transcript` are outside the candidate's own word."""

    HTTP = "http"
    GATEWAY = "gateway"
    VOLUME = "volume"
    GRADER = "grader"
    TRANSCRIPT = "transcript"


class Finding(Frozen):
    """What a detector says of a turn: which rule, and the words that show it."""

    detector: str
    fingerprint: Fingerprint
    quote: str = Field(max_length=2000)


class Failure(Frozen):
    """A turn that went wrong. `findings` is empty only for a failure that a person flagged."""

    id: FailureId
    fingerprint: Fingerprint
    turn: Turn
    findings: tuple[Finding, ...] = ()
    earlier: tuple[Turn, ...] = Field((), description="the turns of the same session before it, oldest first")
    flagged_by: str | None = None
    because: str | None = None
    expect: tuple[str, ...] = Field((), description="expectations of `moss flag --expect`, e.g. `file:/data/x`")

    @property
    def example(self) -> str:
        """One line that shows it: its evidence, or why a person flagged it, or what the user said."""
        words = self.findings[0].quote if self.findings else self.because or self.turn.user
        return " ".join(words.replace("\x00", " ").split())[:200]


class Guard(Frozen):
    """A turn that went well, kept to notice regressions; never shown to the coding agent."""

    id: FailureId
    turn: Turn
    earlier: tuple[Turn, ...] = ()
