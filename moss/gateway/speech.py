"""Owns what an answer is while it is spoken, whoever speaks: a head and pieces that come one by one.

Invariant: a speaker that stops before its answer is complete raises `Cut` out of `body`; nothing else means cut.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal

from moss.domain.evidence import Exchange
from moss.errors import ModelDown
from moss.gateway.recording import pace
from moss.gateway.script import Script, find_rule
from moss.gateway.wire import Asked, Denied, Frames, Said, Wire

Origin = Literal["live", "replay", "script"]


class Cut(ModelDown):
    """The speaker's connection ended before the answer was complete."""


@dataclass(frozen=True, slots=True)
class Speech:
    """An answer about to be spoken. `length`: bytes of the body where the speaker said so."""

    origin: Origin
    status: int
    content_type: str
    body: AsyncIterator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None


Speaking = AbstractAsyncContextManager[Speech]


class Spoken(AbstractAsyncContextManager[Speech]):
    """A speech that needs nothing to be opened or closed."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech

    async def __aenter__(self) -> Speech:
        return self._speech

    async def __aexit__(self, *error: object) -> None:
        return None


def replayed(exchange: Exchange, at_most_seconds: float) -> Speaking:
    """A recorded answer, chunk by chunk, its faults included. It is a model's word again only by its record."""
    body = _paced(pace(exchange.chunks, at_most_seconds), exchange.cut)
    return Spoken(Speech("replay", exchange.status, exchange.content_type, body))


def served_again(exchange: Exchange) -> Speaking:
    """What an earlier attempt of the same grant paid for."""
    return Spoken(Speech("live", exchange.status, exchange.content_type, _paced(pace(exchange.chunks, 0), False)))


def scripted(script: Script, wire: Wire, asked: Asked, again: bool = False) -> Speaking:
    """A scripted model's answer. `again`: the box made this request before. Raises: Denied (500) when no rule fits."""
    heard = wire.heard(asked)
    found = find_rule(script, heard)
    if found is None:
        shown = heard.text[:80]
        sentence = f"no rule of the scripted model fits the last message (role {heard.role}): {shown!r}"
        raise Denied(500, sentence, code="no_rule", kind="server_error", fault=True)
    rule, said = found
    fault = None if rule.fault is None or (rule.fault.once and again) else rule.fault
    if fault is not None and fault.status is not None:
        denied = Denied(fault.status, "a scripted fault", code="scripted_fault", kind="server_error")
        frames = Frames("application/json", (wire.error(denied),))
        return Spoken(_framed("script", fault.status, frames, rule.delay))
    frames = wire.say(said, asked)
    if fault is not None and fault.ends_after is not None and asked.stream:
        frames = Frames(frames.content_type, frames.pieces[: fault.ends_after])
    cut_after = fault.cut_after if fault else None
    return Spoken(_framed("script", 200, frames, rule.delay, cut_after))


def empty(wire: Wire, asked: Asked) -> Speaking:
    """An empty assistant message, after a divergence."""
    return Spoken(_framed("script", 200, wire.say(Said(), asked), 0.0))


def _framed(origin: Origin, status: int, frames: Frames, delay: float, cut_after: int | None = None) -> Speech:
    pieces, cut = frames.pieces, False
    if cut_after is not None and cut_after < sum(map(len, pieces)):
        pieces, cut = _first_bytes(pieces, cut_after), True
    waits = [delay] + [0.0] * len(pieces)
    return Speech(origin, status, frames.content_type, _paced(zip(waits, pieces, strict=False), cut))


def _first_bytes(pieces: Iterable[bytes], count: int) -> tuple[bytes, ...]:
    kept: list[bytes] = []
    for piece in pieces:
        kept.append(piece[:count])
        count -= len(piece)
        if count <= 0:
            break
    return tuple(kept)


async def _paced(pieces: Iterable[tuple[float, bytes]], cut: bool) -> AsyncIterator[bytes]:
    for wait, piece in pieces:
        # even without a wait the loop turns once a piece, so pieces stay pieces
        await asyncio.sleep(wait)
        if piece:
            yield piece
    if cut:
        raise Cut("the recorded or scripted answer ends here")
