"""Owns what the wire APIs have in common: the protocol each one's module fulfils. Never a byte of one API.

One module a wire API (`chat` today). Nothing is translated between them: what a program speaks goes to an upstream
that speaks it. Invariant: whatever the gateway itself says to a box is in the form of the API that the box speaks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from moss.errors import GatewayError


class Denied(GatewayError):
    """The gateway says no to one request. `kind` and `code` are words of the API's error form.

    `fault`: the world's doing, not the box's (a lost upstream, a missing recording): the trial is invalid.
    `spent`: the request went out, so the upstream may have billed it.
    """

    def __init__(
        self,
        status: int,
        sentence: str,
        *,
        code: str,
        kind: str = "invalid_request_error",
        fault: bool = False,
        spent: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.code, self.kind = status, sentence, code, kind
        self.fault, self.spent = fault, spent


@dataclass(frozen=True, slots=True)
class Asked:
    """A model request as far as the gateway must understand it. `body` is its JSON, `raw` the bytes that are sent on.

    `most_out` is the bound on the answer's tokens that the request states.
    """

    raw: bytes
    body: Mapping[str, Any]
    model: str
    stream: bool
    most_out: int | None


@dataclass(frozen=True, slots=True)
class Heard:
    """The last message of a request: what a scripted model answers to."""

    role: Literal["user", "tool", "other"]
    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """One tool call of an answer. `arguments` is text, as models give it; `pieces`: as a stream cuts it."""

    name: str
    arguments: str
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """An answer that MOSS itself gives (scripted, or empty after a divergence)."""

    text: str = ""
    calls: tuple[Called, ...] = ()


@dataclass(frozen=True, slots=True)
class Frames:
    """An answer in an API's bytes, piece by piece."""

    content_type: str
    pieces: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one call took. `cached` is a part of `sent`. `estimated`: the answer named no figures."""

    sent: int = 0
    said: int = 0
    cached: int = 0
    estimated: bool = False


class Meter(Protocol):
    """Listens to one answer as it passes; never holds more of it than one event."""

    @property
    def complete(self) -> bool:
        """The answer said itself that it is over."""

    @property
    def said(self) -> int:
        """Tokens of the answer so far, at least roughly."""

    def feed(self, data: bytes) -> None: ...

    def tokens(self) -> Tokens:
        """The figures of the answer, estimated from its bytes where it gives none."""


class Wire(Protocol):
    """One wire API."""

    name: str
    path: str
    """the route, and the upstream's path behind its base"""

    def read(self, raw: bytes) -> Asked:
        """Raises: Denied (400) for what is not a request of this API."""

    def bound(self, asked: Asked, said: int) -> bytes:
        """The request with its answer bounded to `said` tokens; its own bytes where it states no more than that."""

    def heard(self, asked: Asked) -> Heard: ...

    def say(self, said: Said, asked: Asked) -> Frames:
        """An answer, the same bytes for the same request."""

    def stop(self, asked: Asked) -> bytes:
        """What ends a stream that would overrun its grant."""

    def error(self, denied: Denied) -> bytes: ...

    def models(self, names: Sequence[str]) -> bytes: ...

    def meter(self, asked: Asked, content_type: str) -> Meter: ...

    def key_headers(self, key: str) -> Mapping[str, str]:
        """The headers that carry an upstream's key."""


def estimate(size: int) -> int:
    """Tokens of `size` bytes of text: four bytes a token, rounded up."""
    return -(-size // 4)
