"""Owns the geometry of a swap as a picture: bars on a time line, in units of an SVG. Pure; never markup.

Invariant: every phase has a bar that can be seen and a label that is inside the picture, however short it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from moss.api.says import SwapSeen, SwapStep

WIDTH = 960.0
LEFT, RIGHT = 130.0, 16.0
ROW, TOP = 26.0, 34.0
THIN = 3.0
"""the narrowest bar"""
WIDE = 360.0
"""a bar that takes its own words"""
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600)


@dataclass(frozen=True, slots=True)
class Bar:
    """One phase. `text_at`: where its words begin; `anchor`: start or end; `inside`: they stand in the bar."""

    word: str
    says: str
    kind: str
    x: float
    y: float
    width: float
    inside: bool
    text_at: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Picture:
    """`held`: (x, width) of the times in which messages waited."""

    width: float
    height: float
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    held: tuple[tuple[float, float], ...]
    title: str


def picture(seen: SwapSeen, title: str) -> Picture | None:
    """The picture of a swap, None before its first phase ended."""
    if not seen.steps:
        return None
    zero = min(_begin(step) for step in seen.steps)
    length = max(max(step.at.timestamp() for step in seen.steps) - zero, 0.05)
    scale = (WIDTH - LEFT - RIGHT) / length
    bars = tuple(_bar(step, row, zero, scale) for row, step in enumerate(seen.steps))
    return Picture(
        width=WIDTH,
        height=TOP + ROW * len(bars) + 12,
        bars=bars,
        ticks=_ticks(length, scale),
        held=_held(seen.steps, zero, scale),
        title=title,
    )


def _begin(step: SwapStep) -> float:
    return step.at.timestamp() - max(0.0, step.seconds)


def _bar(step: SwapStep, row: int, zero: float, scale: float) -> Bar:
    x = LEFT + (_begin(step) - zero) * scale
    width = max(THIN, step.seconds * scale)
    width = min(width, WIDTH - RIGHT - x) if x < WIDTH - RIGHT - THIN else THIN
    inside = width > WIDE
    on_the_right = inside or x + width < LEFT + (WIDTH - LEFT) * 0.55
    begins = x + 8 if inside else x + width + 6
    return Bar(
        word=step.word,
        says=step.says,
        kind="bad" if not step.ok else "held" if step.held else "free",
        x=round(x, 1),
        y=TOP + ROW * row,
        width=round(width, 1),
        inside=inside,
        text_at=round(begins if on_the_right else x - 6, 1),
        anchor="start" if on_the_right else "end",
    )


def _held(steps: Sequence[SwapStep], zero: float, scale: float) -> tuple[tuple[float, float], ...]:
    """Stretches in which the proxy held messages back: from a hold's end to the next release's end."""
    stretches, since = [], None
    for step in steps:
        at = LEFT + (step.at.timestamp() - zero) * scale
        if step.held and since is None:
            since = at
        elif not step.held and since is not None:
            stretches.append((round(since, 1), round(max(THIN, at - since), 1)))
            since = None
    if since is not None:
        stretches.append((round(since, 1), round(WIDTH - RIGHT - since, 1)))
    return tuple(stretches)


def _ticks(length: float, scale: float) -> tuple[Tick, ...]:
    step = next((one for one in TICKS if length / one <= 8), TICKS[-1])
    marks = [step * number for number in range(int(length / step) + 1)][:50]
    return tuple(Tick(round(LEFT + mark * scale, 1), f"{mark:g} s") for mark in marks)
