"""The gate alone: whatever order holds, turns and departures come in, nobody is lost and nobody slips through."""

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moss.domain.ids import Key
from moss.hold.gate import Gate, TurnedAway

KEY = Key("k")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def _pass(gate: Gate, log: list[str]) -> None:
    try:
        async with gate.turn():
            log.append("in" if gate.hold is None else "in under a hold")
            await asyncio.sleep(0)
    except TurnedAway:
        log.append("away")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["come", "hold", "release", "lapse", "leave", "step"]), max_size=30), st.integers(1, 4))
def test_every_turn_passes_is_turned_away_or_leaves(steps: list[str], bound: int) -> None:
    async def story() -> None:
        gate, log = Gate(Clock()), []
        turns: list[asyncio.Task[None]] = []
        for step in steps:
            match step:
                case "come":
                    turns.append(asyncio.ensure_future(_pass(gate, log)))
                case "hold":
                    gate.begin(KEY, 130.0, bound)
                case "release" | "lapse":
                    gate.end(let_in=step == "release")
                case "leave" if turns:
                    turns[-1].cancel()
            await asyncio.sleep(0)
            assert gate.hold is None or len(gate.hold.waiting) <= bound
        gate.end(let_in=True)
        await asyncio.gather(*turns, return_exceptions=True)
        left = sum(turn.cancelled() for turn in turns)
        assert gate.in_flight == 0
        assert log.count("in") + log.count("away") + left >= len(turns)
        assert "in under a hold" not in log

    asyncio.run(story())


async def test_the_longest_wait_is_measured_on_the_gates_own_clock() -> None:
    clock = Clock()
    gate, log = Gate(clock), []
    gate.begin(KEY, 130.0, 10)
    turn = asyncio.ensure_future(_pass(gate, log))
    await asyncio.sleep(0)
    clock.now += 7.0
    did = gate.end(let_in=True)
    await turn
    assert did is not None
    assert (did.longest, did.waited, did.refused) == (7.0, 1, 0)


async def test_those_turned_away_are_told_how_long_the_hold_may_still_last() -> None:
    gate = Gate(Clock())
    gate.begin(KEY, 112.0, 1)
    first = asyncio.ensure_future(_pass(gate, []))
    await asyncio.sleep(0)
    with pytest.raises(TurnedAway) as away:
        async with gate.turn():
            pass
    assert away.value.retry_after == 12
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first


async def test_a_second_hold_right_after_a_release_keeps_out_those_not_yet_awake() -> None:
    gate, log = Gate(Clock()), []
    gate.begin(KEY, 130.0, 10)
    turn = asyncio.ensure_future(_pass(gate, log))
    await asyncio.sleep(0)
    gate.end(let_in=True)
    gate.begin(Key("k2"), 130.0, 10)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == []
    gate.end(let_in=True)
    await turn
    assert log == ["in"]
