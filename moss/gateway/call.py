"""Owns one model call while it lasts: what was asked, what was heard, how it ended. Never a socket, never the ledger.

Invariant: a call that ended in any way has an `Exchange`, and its tokens are counted from what was heard.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from moss.domain.evidence import Chunk, Exchange
from moss.domain.ids import Digest
from moss.gateway.ledger import Hold
from moss.gateway.speech import Origin, Speech
from moss.gateway.tokens import Pass
from moss.gateway.wire import Asked, Meter, Tokens, Wire, estimate

Redact = Callable[[bytes], bytes]


@dataclass(slots=True)
class Call:
    """One call. Filled in as it goes on."""

    passed: Pass
    wire: Wire
    asked: Asked
    upstream: str
    ordinal: int
    at: datetime
    kept_bytes: int
    turn: str | None = None
    """as a redacted turn has it"""
    divergent: bool = False
    hold: Hold | None = None
    billed: bool = False
    """an upstream was asked, so the answer costs something"""
    origin: Origin = "live"
    status: int = 0
    content_type: str = "application/json"
    meter: Meter | None = None
    fault: bool = False
    """the world's doing: no upstream, no rule, no artifact"""
    cut: bool = False
    left: bool = False
    """the box went away, or was dropped, before the end"""
    chunks: list[Chunk] = field(default_factory=list)
    kept: int = 0
    """bytes of the answer so far"""
    _last: float = field(default_factory=time.monotonic)

    def begin(self, speech: Speech) -> None:
        self.origin, self.status, self.content_type = speech.origin, speech.status, speech.content_type
        self.meter = self.wire.meter(self.asked, speech.content_type)

    def hear(self, piece: bytes) -> None:
        """Keeps a piece of the answer, up to the bound, and counts it."""
        assert self.meter is not None
        self.meter.feed(piece)
        now = time.monotonic()
        self.kept += len(piece)
        if self.kept <= self.kept_bytes:
            self.chunks.append(Chunk(data=piece, after=round(now - self._last, 4)))
        self._last = now

    @property
    def overruns(self) -> bool:
        """The answer is longer than the room that the grant's limits left for it."""
        if self.hold is None or self.meter is None or not self.asked.stream:
            return False
        shrunk = self.asked.most_out is None or self.hold.want.said < self.asked.most_out
        return shrunk and self.meter.said > self.hold.want.said

    @property
    def limited(self) -> bool:
        grant = self.passed.grant
        return grant.max_tokens is not None or grant.max_money_usd is not None

    def tokens(self) -> Tokens:
        """What the call took: nothing for an answer that nobody bills, an estimate where the head never came."""
        if not self.billed or self.status >= 400:
            return Tokens()
        if self.meter is None:
            return Tokens(estimate(len(self.asked.raw)), 0, estimated=True)
        return self.meter.tokens()

    def exchange(self, canonical: Digest, redact: Redact) -> Exchange:
        tokens = self.tokens()
        complete = self.meter is not None and self.meter.complete
        return Exchange(
            ordinal=self.ordinal,
            at=self.at,
            upstream=self.upstream,
            path=self.wire.path,
            request=redact(self.asked.raw),
            canonical=canonical,
            status=self.status,
            content_type=self.content_type,
            chunks=redact_chunks(self.chunks, redact),
            cut=self.cut,
            whole=self.kept <= self.kept_bytes and (complete or not self.left),
            origin=self.origin,
            divergent=self.divergent,
            turn=self.turn,
            tokens_in=tokens.sent,
            tokens_out=tokens.said,
        )


def redact_chunks(chunks: list[Chunk], redact: Redact) -> tuple[Chunk, ...]:
    """Redacts an answer as one text, so that a secret that two chunks share is found, and cuts it at the old places."""
    whole = b"".join(chunk.data for chunk in chunks)
    clean = redact(whole)
    if clean == whole:
        return tuple(chunks)
    parts, at = [], 0
    for chunk in chunks[:-1]:
        parts.append(Chunk(data=clean[at : at + len(chunk.data)], after=chunk.after))
        at += len(chunk.data)
    return (*parts, Chunk(data=clean[at:], after=chunks[-1].after))


def redact_turn(turn: str | None, redact: Redact) -> str | None:
    """`session#ordinal` as a redacted turn has it."""
    if turn is None:
        return None
    session, sign, ordinal = turn.rpartition("#")
    return f"{redact(session.encode()).decode(errors='replace')}{sign}{ordinal}"
