"""Waiting for readiness: the first look that says something ends it, and the last one is what is told."""

import pytest

from moss.config import CanarySettings
from moss.domain.trial import Answer
from moss.engine.readiness import canary_fault, settled
from moss.ports import Probe, Readiness
from moss.testing.clock import ManualClock


async def waited(*states: Readiness, seconds: float = 10.0) -> tuple[Probe, int]:
    """What `settled` gives for looks that each take a second, and how many there were."""
    clock, seen = ManualClock(), 0

    async def look() -> Probe:
        nonlocal seen
        clock.tick(1.0)
        seen += 1
        return Probe(states[min(seen, len(states)) - 1], None, f"look {seen}")

    return await settled(look, clock, seconds, 0.0), seen


@pytest.mark.parametrize("end", [Readiness.READY, Readiness.FAILED])
async def test_the_first_look_that_is_not_starting_ends_the_wait(end: Readiness) -> None:
    probe, seen = await waited(Readiness.STARTING, Readiness.STARTING, end, Readiness.STARTING)
    assert (probe.readiness, probe.detail, seen) == (end, "look 3", 3)


async def test_at_the_end_of_its_time_the_last_look_is_told() -> None:
    probe, seen = await waited(Readiness.STARTING, seconds=4.0)
    assert (probe.readiness, probe.detail, seen) == (Readiness.STARTING, "look 4", 4)


async def test_without_time_there_is_one_look() -> None:
    probe, seen = await waited(Readiness.READY, seconds=0.0)
    assert (probe.readiness, seen) == (Readiness.READY, 1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(error="reset"), "it gave no answer to the canary: reset"),
        (Answer(status=500, text="pong"), "the canary was answered with status 500, not as expected"),
        (Answer(status=200, text="what?"), "the canary was answered with status 200, not as expected"),
        (Answer(status=200, text="a pong"), None),
    ],
)
def test_a_canary_wants_its_status_and_its_word(answer: Answer, says: str | None) -> None:
    assert canary_fault(CanarySettings(contains="pong"), answer) == says
