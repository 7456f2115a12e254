"""Owns the wait until an agent is ready, in a box or live, the watch of one in a box, and what answers the canary.

Never starts or stops anything and never says what follows. Invariant: an agent that has ended is told as ended,
however the look that failed first put it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from moss.config import CanarySettings
from moss.domain.trial import Answer
from moss.engine.offload import offload
from moss.engine.parts import Parts
from moss.ports import Box, BoxExit, Clock, ExitReason, Place, Probe, Readiness

LAST_BREATH = 0.3
"""seconds: one that dies under a look has often not ended yet when the look has failed"""
LAST_LINE = 300
"""letters of a program's last line that are kept"""
MISSES = 3
"""looks in a row that make a ready agent one that is not: a busy one may miss one or two"""


async def settled(look: Callable[[], Awaitable[Probe]], clock: Clock, seconds: float, pause: float) -> Probe:
    """The first look that is not `starting`, else the last one in `seconds`; `pause` seconds lie between two."""
    until = clock.monotonic() + seconds
    while True:
        probe = await look()
        if probe.readiness is not Readiness.STARTING or clock.monotonic() >= until:
            return probe
        await asyncio.sleep(pause)


async def box_fault(parts: Parts, box: Box, place: Place, pause: float) -> str | None:
    """Why the agent in `box` is not ready within its start period, None when it is. Raises: BoxLost."""

    async def look() -> Probe:
        probe = await offload(parts.turns.health, place)
        if probe.readiness is Readiness.READY:
            return probe
        patience = LAST_BREATH if probe.readiness is Readiness.FAILED else 0.0
        if (ended := await offload(parts.boxes.wait, box, patience)) is not None:
            return replace(probe, readiness=Readiness.FAILED, detail=f"it {_ended(ended)} before it was ready")
        if probe.readiness is Readiness.FAILED:
            return replace(probe, detail=f"it is not healthy: {probe.detail}")
        return probe

    seconds = parts.settings.live.start_seconds
    probe = await settled(look, parts.clock, seconds, pause)
    match probe.readiness:
        case Readiness.READY:
            return None
        case Readiness.FAILED:
            return probe.detail
        case Readiness.STARTING:
            return f"it was not ready after {seconds:g} s: {probe.detail}"


async def fault_within(parts: Parts, box: Box, place: Place, seconds: float, pause: float) -> str | None:
    """What a ready agent in `box` does wrong in the next `seconds`, None when nothing. Raises: BoxLost."""
    until = parts.clock.monotonic() + seconds
    misses = 0
    while (left := until - parts.clock.monotonic()) > 0:
        if (ended := await offload(parts.boxes.wait, box, min(pause, left))) is not None:
            return f"it {_ended(ended)} while it was watched"
        probe = await offload(parts.turns.health, place)
        misses = 0 if probe.readiness is Readiness.READY else misses + 1
        if misses >= MISSES:
            return f"it was not ready while it was watched: {probe.detail}"
    return None


def canary_fault(canary: CanarySettings, answer: Answer) -> str | None:
    """What came instead of the answer that the canary expects, None when that came."""
    if answer.error is not None:
        return f"it gave no answer to the canary: {answer.error}"
    if answer.status != 200 or canary.contains not in answer.text:
        return f"the canary was answered with status {answer.status}, not as expected"
    return None


def last_line(redact: Callable[[str], str], said: str) -> str:
    """The last line that has a word in it, redacted before it is cut: what a program says of its own end."""
    lines = [line.strip() for line in redact(said).splitlines() if line.strip()]
    return lines[-1][:LAST_LINE] if lines else ""


def _ended(end: BoxExit) -> str:
    return f"exited {end.code}" + ("" if end.reason is ExitReason.EXITED else f" ({end.reason})")
