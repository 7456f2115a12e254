"""Owns what is asked of the hold proxy over its control socket and what it answers. No logic."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from moss.domain.frozen import Frozen
from moss.domain.ids import Digest, Key


class Backend(Frozen):
    """Where the agent itself listens. `boot` changes with each start of it."""

    host: str
    port: int = Field(ge=1, le=65535)
    boot: str = ""


class SetBackend(Frozen):
    kind: Literal["backend"] = "backend"
    backend: Backend | None


class HoldNow(Frozen):
    """`waiting`: how many may wait; `drain_seconds`: how long turns in flight are waited for."""

    kind: Literal["hold"] = "hold"
    key: Key
    drain_seconds: float = Field(ge=0)
    deadline_seconds: float = Field(gt=0)
    waiting: int = Field(1000, ge=1)


class ReleaseNow(Frozen):
    kind: Literal["release"] = "release"
    key: Key


class SettleNow(Frozen):
    kind: Literal["settle"] = "settle"
    key: Key


class AskAnswered(Frozen):
    kind: Literal["answered"] = "answered"
    key: Key


class AskStatus(Frozen):
    kind: Literal["status"] = "status"


class Quit(Frozen):
    kind: Literal["quit"] = "quit"


Request = Annotated[
    SetBackend | HoldNow | ReleaseNow | SettleNow | AskAnswered | AskStatus | Quit, Field(discriminator="kind")
]
REQUEST: TypeAdapter[Request] = TypeAdapter(Request)


class HeldSays(Frozen):
    """Turns that were in flight and ended, seconds that took, whether all ended in time."""

    drained: int
    seconds: float
    complete: bool


class ReleasedSays(Frozen):
    """What one hold did. `refused`: answered 503 since it began."""

    key: Key
    waited: int = 0
    longest_wait: float = 0.0
    refused: int = 0


class AnsweredLine(Frozen):
    """One message that the agent answered between release and settle. `body_sha` is over the request's body."""

    id: str
    at: datetime
    method: str
    path: str
    status: int
    body_sha: Digest
    session: str | None = None


class AnsweredSays(Frozen):
    lines: tuple[AnsweredLine, ...]


class StatusSays(Frozen):
    """`remaining`: seconds until the hold lets go by itself. `sockets`: open WebSockets."""

    pid: int
    listen: str
    backend: Backend | None
    held: Key | None
    remaining: float | None
    waiting: int
    in_flight: int
    sockets: int
    answered: int
    """requests that were passed on and answered since the proxy started"""


class Done(Frozen):
    """Nothing to tell."""
