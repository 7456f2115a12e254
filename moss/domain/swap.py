"""Owns the swap: the second machine, in the same form as the run's (design 9). Never touches a live agent.

`next_phase` is the one place that says what follows what; the event that ends a phase carries the next one, so a
phase is on record before it is done. Invariant: from STOP on, every path ends with one version serving and settled,
or in DOWN after both versions failed on both states.
"""

from datetime import datetime
from enum import StrEnum
from typing import assert_never

from moss.domain.frozen import Frozen
from moss.domain.ids import Digest, Key


class Phase(StrEnum):
    """Forward: PREPARE .. SETTLE. Back: UNHOLD (let go, untouched), or R_HOLD .. R_SETTLE."""

    PREPARE = "prepare"
    HOLD = "hold"
    STOP = "stop"
    SNAPSHOT = "snapshot"
    START = "start"
    PROBE = "probe"
    CANARY = "canary"
    RELEASE = "release"
    WATCH = "watch"
    SETTLE = "settle"
    UNHOLD = "unhold"
    R_HOLD = "r_hold"
    R_STOP = "r_stop"
    R_START = "r_start"
    R_PROBE = "r_probe"
    R_CANARY = "r_canary"
    RS_STOP = "rs_stop"
    RS_STATE = "rs_state"
    RS_START = "rs_start"
    RS_PROBE = "rs_probe"
    RS_CANARY = "rs_canary"
    R_RELEASE = "r_release"
    R_SETTLE = "r_settle"
    DOWN_RELEASE = "down_release"
    END = "end"


_UNHELD = frozenset({
    Phase.PREPARE, Phase.RELEASE, Phase.WATCH, Phase.SETTLE, Phase.UNHOLD,
    Phase.R_RELEASE, Phase.R_SETTLE, Phase.DOWN_RELEASE, Phase.END,
})  # fmt: skip
"""phases before a hold, that end one, or after it"""
HELD = frozenset(Phase) - _UNHELD
"""phases in which users wait"""
UNDER_HOLD = HELD - {Phase.HOLD, Phase.R_HOLD}
"""those that rely on a hold that was taken before: no version may answer anybody"""


WORDS: dict[Phase, str] = {
    Phase.PREPARE: "prepared",
    Phase.HOLD: "held",
    Phase.STOP: "stopped",
    Phase.SNAPSHOT: "snapshot",
    Phase.START: "started",
    Phase.PROBE: "ready",
    Phase.CANARY: "canary",
    Phase.RELEASE: "released",
    Phase.WATCH: "watched",
    Phase.SETTLE: "settled",
    Phase.UNHOLD: "let go",
    Phase.R_HOLD: "held again",
    Phase.R_STOP: "new stopped",
    Phase.R_START: "old started",
    Phase.R_PROBE: "old ready",
    Phase.R_CANARY: "old canary",
    Phase.RS_STOP: "stopped again",
    Phase.RS_STATE: "state back",
    Phase.RS_START: "old started",
    Phase.RS_PROBE: "old ready",
    Phase.RS_CANARY: "old canary",
    Phase.R_RELEASE: "released",
    Phase.R_SETTLE: "restored",
    Phase.DOWN_RELEASE: "let go",
    Phase.END: "over",
}
"""what has happened when a phase is over, for people"""


class SwapEnd(StrEnum):
    SWITCHED = "switched"
    """the new version serves and was watched"""
    RESTORED = "restored"
    """the old version serves again"""
    UNTOUCHED = "untouched"
    """nothing was stopped"""
    STALE = "stale"
    """what ran was not what was expected; nothing was stopped"""
    DOWN = "down"
    """neither version gets ready: the operator is called"""


class PhaseResult(Frozen):
    """What performing one phase showed. `ok` false: `because` says why, in one sentence.

    `stale`: what runs is not what was expected. `has_snapshot`: a whole snapshot is there.
    `lost`: ids of messages that the candidate had answered when the snapshot came back.
    `said`: the last line that a version which failed wrote, redacted and cut: its own words, no sentence of ours.
    """

    ok: bool
    because: str = ""
    stale: bool = False
    seconds: float = 0.0
    has_snapshot: bool | None = None
    boot: str | None = None
    drained: int | None = None
    waited: int | None = None
    longest_wait: float | None = None
    refused: int | None = None
    bytes: int | None = None
    answered: int | None = None
    lost: tuple[str, ...] = ()
    said: str = ""


class Swap(Frozen):
    """The folded state of one swap. `key` is its own on the target; `undo`: the operator takes a version back."""

    key: Key
    old: Digest
    new: Digest
    undo: bool = False
    phase: Phase = Phase.PREPARE
    end: SwapEnd | None = None
    because: str = ""
    has_snapshot: bool = False
    boot: str | None = None
    held_at: datetime | None = None
    released_after: float | None = None
    refused: int = 0
    waited: int = 0
    longest_wait: float = 0.0
    lost: tuple[str, ...] = ()

    @property
    def critical(self) -> bool:
        """No safe point: users wait, or it is open which version serves."""
        return self.phase not in (Phase.PREPARE, Phase.END)


class Turned(Frozen):
    """Where a swap goes after a phase. `end` is set where the swap is over."""

    phase: Phase
    end: SwapEnd | None = None


def next_phase(swap: Swap, result: PhaseResult) -> Turned:
    """What follows `swap.phase`, given what it showed (the table of design 9)."""
    if result.stale and swap.phase in _UNTOUCHED:
        return _go(Phase.UNHOLD) if swap.phase is not Phase.PREPARE else _over(SwapEnd.STALE)
    return _after_ok(swap) if result.ok else _after_failure(swap)


_UNTOUCHED = (Phase.PREPARE, Phase.HOLD, Phase.STOP)
"""phases that leave the old version serving when they fail"""


def _go(phase: Phase) -> Turned:
    return Turned(phase=phase)


def _over(end: SwapEnd) -> Turned:
    return Turned(phase=Phase.END, end=end)


_FORWARD: dict[Phase, Phase] = {
    Phase.PREPARE: Phase.HOLD,
    Phase.HOLD: Phase.STOP,
    Phase.STOP: Phase.SNAPSHOT,
    Phase.SNAPSHOT: Phase.START,
    Phase.START: Phase.PROBE,
    Phase.PROBE: Phase.CANARY,
    Phase.CANARY: Phase.RELEASE,
    Phase.RELEASE: Phase.WATCH,
    Phase.WATCH: Phase.SETTLE,
    Phase.R_HOLD: Phase.R_STOP,
    Phase.R_STOP: Phase.R_START,
    Phase.R_START: Phase.R_PROBE,
    Phase.R_PROBE: Phase.R_CANARY,
    Phase.R_CANARY: Phase.R_RELEASE,
    Phase.RS_STOP: Phase.RS_STATE,
    Phase.RS_STATE: Phase.RS_START,
    Phase.RS_START: Phase.RS_PROBE,
    Phase.RS_PROBE: Phase.RS_CANARY,
    Phase.RS_CANARY: Phase.R_RELEASE,
    Phase.R_RELEASE: Phase.R_SETTLE,
}


def _after_ok(swap: Swap) -> Turned:
    match swap.phase:
        case Phase.SETTLE:
            return _over(SwapEnd.SWITCHED)
        case Phase.R_SETTLE:
            return _over(SwapEnd.RESTORED)
        case Phase.UNHOLD:
            return _over(SwapEnd.STALE if swap.end is SwapEnd.STALE else SwapEnd.UNTOUCHED)
        case Phase.DOWN_RELEASE:
            return _over(SwapEnd.DOWN)
        case phase:
            return _go(_FORWARD[phase])


def _after_failure(swap: Swap) -> Turned:
    match swap.phase:
        case Phase.PREPARE:
            return _over(SwapEnd.UNTOUCHED)
        case Phase.HOLD:
            return _go(Phase.UNHOLD)
        case Phase.STOP | Phase.SNAPSHOT:
            # A stop that failed may have stopped it all the same: starting the old one is silent where it runs.
            return _go(Phase.R_START)
        case Phase.START | Phase.PROBE | Phase.CANARY:
            return _go(Phase.R_STOP)
        case Phase.RELEASE | Phase.WATCH | Phase.SETTLE:
            return _go(Phase.R_HOLD)
        case Phase.R_HOLD | Phase.R_STOP | Phase.R_RELEASE | Phase.RS_STOP | Phase.R_SETTLE | Phase.UNHOLD:
            # These only ask the target for something it will do sooner or later: going on beats stopping here.
            return _after_ok(swap)
        case Phase.R_START | Phase.R_PROBE | Phase.R_CANARY:
            return _go(Phase.RS_STOP) if swap.has_snapshot else _go(Phase.DOWN_RELEASE)
        case Phase.RS_STATE | Phase.RS_START | Phase.RS_PROBE | Phase.RS_CANARY | Phase.DOWN_RELEASE:
            return _go(Phase.DOWN_RELEASE) if swap.phase is not Phase.DOWN_RELEASE else _over(SwapEnd.DOWN)
        case Phase.END:
            return _over(swap.end or SwapEnd.UNTOUCHED)
        case _ as never:
            assert_never(never)


def turn(swap: Swap, at: datetime, result: PhaseResult, turned: Turned) -> Swap:
    """The fold of one phase's end: dumb, it never decides."""
    change: dict[str, object] = {"phase": turned.phase, "end": turned.end or swap.end}
    if not result.ok and not swap.because:
        change["because"] = result.because
    if result.stale and turned.phase is Phase.UNHOLD:
        change["end"] = SwapEnd.STALE
    if result.has_snapshot is not None:
        change["has_snapshot"] = result.has_snapshot
    if swap.phase in (Phase.HOLD, Phase.R_HOLD):
        change["held_at"] = at
    if swap.phase in (Phase.START, Phase.R_START, Phase.RS_START):
        change["boot"] = result.boot
    if swap.phase in (Phase.RELEASE, Phase.R_RELEASE, Phase.UNHOLD, Phase.DOWN_RELEASE):
        change |= _released(swap, at, result)
    if result.lost:
        change["lost"] = swap.lost + result.lost
    return swap.model_copy(update=change)


def _released(swap: Swap, at: datetime, result: PhaseResult) -> dict[str, object]:
    held = swap.held_at
    return {
        "released_after": None if held is None else max(0.0, (at - held).total_seconds()),
        "refused": swap.refused + (result.refused or 0),
        "waited": swap.waited + (result.waited or 0),
        "longest_wait": max(swap.longest_wait, result.longest_wait or 0.0),
    }
