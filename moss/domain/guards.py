"""Owns which turns that went well stand guard over a batch. Never runs them.

Invariant: the same candidates give the same choice, and a second turn of the same tools is taken only when no other
candidate has a tool that is not covered yet.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

from moss.domain.evidence import Guard, Turn
from moss.domain.proof import guards_needed

SPARE = 3
"""Guards beyond those needed: some will not pass each trial on the live version, and each costs trials."""
KEPT_IN_FULL = 500


def went_well(turn: Turn) -> bool:
    """A turn without findings that may stand guard: it was answered, and nothing says that it ended badly."""
    answered = turn.status is None or 200 <= turn.status < 300
    return answered and turn.finish in (None, "stop") and not turn.error and bool((turn.reply or "").strip())


def worth_keeping(turn: Turn, kept: int) -> bool:
    """Whether another turn is kept when `kept` are: all at first, then each time fewer, chosen by its name alone."""
    thin = 1 << min(20, kept // KEPT_IN_FULL)
    return int.from_bytes(hashlib.sha256(turn.id.encode()).digest()[:4], "big") % thin == 0


def wanted(cases: int) -> int:
    """How many candidates go into a batch of so many cases."""
    return guards_needed(cases) + SPARE


def choose(candidates: Sequence[Guard], count: int, failed: Sequence[Turn] = ()) -> tuple[Guard, ...]:
    """Up to `count` guards: tools that none has yet first, recorded turns before others, then other lengths, then
    turns of sessions without a failed turn, then the newest. A turn behind one of `failed` would replay it: it is
    left out, and so is the failed turn itself."""
    first = {turn.session: turn.ordinal for turn in sorted(failed, key=lambda turn: -turn.ordinal)}
    left = [one for one in candidates if one.turn.ordinal < first.get(one.turn.session, one.turn.ordinal + 1)]
    left.sort(key=lambda one: (one.turn.redacted > 0, one.turn.session in first, -one.turn.at.timestamp(), one.id))
    covered: set[str] = set()
    seen: Counter[object] = Counter()

    def rank(guard: Guard) -> tuple[int, bool, int, int]:
        tools, size = _tools(guard), _size(guard)
        return -len(tools - covered), guard.turn.recording is None, seen[tools] + seen[size], seen[tools, size]

    chosen: list[Guard] = []
    while left and len(chosen) < count:
        best = min(left, key=rank)
        left.remove(best)
        chosen.append(best)
        tools, size = _tools(best), _size(best)
        covered |= tools
        seen.update((tools, size, (tools, size)))
    return tuple(chosen)


def _tools(guard: Guard) -> frozenset[str]:
    return frozenset(tool.name for tool in guard.turn.tools)


def _size(guard: Guard) -> tuple[int, int]:
    """Its length in turns and in words, coarsely."""
    turn = guard.turn
    return min(3, len(guard.earlier)), (len(turn.user) + len(turn.reply or "")).bit_length() // 2
