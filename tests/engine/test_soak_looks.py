"""The soak: hours in which a version that works is never taken back, and one that does not is, with the reason."""

import random
from datetime import timedelta
from pathlib import Path

import pytest

from moss.domain.events import Outcome, SoakLook, Stage
from moss.domain.evidence import Failure, Finding, Turn
from moss.domain.ids import Fingerprint, RunId
from moss.domain.machine import SOAK_EVERY
from moss.domain.run import Run
from moss.domain.soak import ALPHA, BETA, REMAINING, worse
from moss.errors import TargetDown
from moss.testing.puppet import Attempt
from moss.testing.workbench import Workbench, bench_settings, workbench

FIX = Attempt(fixes=("case-1", "case-2", "case-3"))
HOURS = 4.0


@pytest.fixture
def soaking(tmp_path: Path) -> Workbench:
    swap = bench_settings(tmp_path).swap.model_copy(update={"soak_hours": HOURS})
    return workbench(tmp_path / "bench", swap=swap)


async def begun(bench: Workbench) -> RunId:
    """A run at its soak, looked at once."""
    run = await bench.whole(FIX)
    assert run.next is not None
    assert run.next.stage is Stage.SOAK
    assert run.soak is not None
    return run.id


def traffic(bench: Workbench, turns: int, failed: int = 0, fingerprint: str = "refuses") -> None:
    """What the evidence finds since."""
    at = bench.clock.now()
    failures = []
    for number in range(failed):
        session = f"later-{at.timestamp()}-{number}"
        turn = Turn(session=session, ordinal=1, at=at, user="hello", reply="no")
        finding = Finding(detector="refuses", fingerprint=Fingerprint(fingerprint), quote="no")
        failures.append(Failure(id=turn.id, fingerprint=Fingerprint(fingerprint), turn=turn, findings=(finding,)))
    bench.store.save_scan("puppet", failures, (), (), (), at, counted=turns)


async def look(bench: Workbench, run: RunId, after: float = 60.0) -> Run:
    bench.clock.tick(after)
    return await bench.go(run)


async def test_it_looks_at_once_then_every_half_minute_and_ends_at_its_hour(soaking: Workbench) -> None:
    run = await begun(soaking)
    assert (await look(soaking, run, 1.0)).seq == soaking.run(run).seq
    before = soaking.run(run).seq
    assert (await look(soaking, run, 1.0)).seq == before
    assert (await look(soaking, run, SOAK_EVERY.total_seconds())).seq == before + 1
    ended = await look(soaking, run, HOURS * 3600)
    assert ended.outcome is Outcome.COMMITTED
    assert soaking.source.published == {"moss_live": ended.iterations[0].work}


async def test_a_failure_that_comes_back_is_taken_back_with_its_numbers(soaking: Workbench) -> None:
    run = await begun(soaking)
    traffic(soaking, turns=20, failed=5)
    ended = await look(soaking, run)
    assert ended.outcome is Outcome.ROLLED_BACK
    assert ended.because == "the failure came back in 5 of 20 turns, before in 3 of 100"
    assert soaking.target.running == soaking.base
    assert not soaking.source.published


async def test_another_failure_is_not_this_ones(soaking: Workbench) -> None:
    run = await begun(soaking)
    traffic(soaking, turns=20, failed=10, fingerprint="another")
    assert (await look(soaking, run)).outcome is None


async def test_failures_from_before_the_switch_do_not_count(soaking: Workbench) -> None:
    run = await begun(soaking)
    soaking.clock.jump(-3600)
    traffic(soaking, turns=20, failed=10)  # found late, happened before
    soaking.clock.jump(3600)
    assert (await look(soaking, run)).outcome is None


async def test_an_agent_that_dies_in_its_soak_is_taken_back(soaking: Workbench) -> None:
    run = await begun(soaking)
    soaking.target.die(3)
    ended = await look(soaking, run)
    assert ended.outcome is Outcome.ROLLED_BACK
    assert "not healthy" in ended.because
    assert soaking.target.running == soaking.base
    assert soaking.target.restart_policy == "always"


async def test_a_look_that_fails_is_looked_again(soaking: Workbench) -> None:
    run = await begun(soaking)
    soaking.target.fail("probe", TargetDown("no answer"))
    after = await look(soaking, run)
    assert after.outcome is None
    assert (await look(soaking, run, HOURS * 3600)).outcome is Outcome.COMMITTED


async def test_a_clock_that_goes_back_an_hour_looks_on_and_ends(soaking: Workbench) -> None:
    run = await begun(soaking)
    soaking.clock.jump(-3600)
    assert (await look(soaking, run, 1.0)).outcome is None
    assert (await look(soaking, run, (HOURS + 2) * 3600)).outcome is Outcome.COMMITTED


async def test_the_brake_does_not_leave_a_soak_alone(soaking: Workbench) -> None:
    run = await begun(soaking)
    soaking.desk.pause("alice")
    traffic(soaking, turns=20, failed=5)
    assert (await look(soaking, run)).outcome is Outcome.ROLLED_BACK


@pytest.mark.slow
async def test_twenty_healthy_soaks_are_never_taken_back(tmp_path: Path) -> None:
    """Each sees rare repeats of the failure, as a version that works may show, at every look of its hours."""
    for seed in range(20):
        swap = bench_settings(tmp_path).swap.model_copy(update={"soak_hours": HOURS})
        bench = workbench(tmp_path / str(seed), swap=swap, cases=1)
        traffic(bench, turns=900, failed=0)
        run = await begun(bench)
        chance = random.Random(seed)
        for _ in range(40):
            traffic(bench, turns=50, failed=sum(chance.random() < 0.0005 for _ in range(50)))
            assert (await look(bench, run, HOURS * 3600 / 50)).outcome is None, seed
        assert (await look(bench, run, HOURS * 3600)).outcome is Outcome.COMMITTED


# ------------------------------------------------------------------ Wald's figures


def soak(rate: float, before: tuple[int, int], turns: int, chance: random.Random) -> bool:
    """Whether a version that fails at `rate` is taken back within `turns`, looked at after every one."""
    recurred = 0
    for number in range(1, turns + 1):
        recurred += chance.random() < rate
        if worse(number, recurred, *before) is not None:
            return True
    return False


def test_a_version_that_works_is_taken_back_at_most_as_often_as_walds_bound_says() -> None:
    chance, before = random.Random(1), (1000, 100)
    wrongly = sum(soak(0.1 * REMAINING, before, 400, chance) for _ in range(300))
    assert wrongly / 300 <= ALPHA / (1 - BETA) + 0.03


def test_a_version_that_changed_nothing_is_taken_back_nearly_always() -> None:
    chance, before = random.Random(2), (1000, 100)
    rightly = sum(soak(0.1, before, 400, chance) for _ in range(100))
    assert rightly / 100 >= 1 - BETA


@pytest.mark.parametrize(("turns", "recurred"), [(0, 0), (10, 0), (1000, 0)])
def test_without_a_repeat_nothing_is_taken_back(turns: int, recurred: int) -> None:
    assert worse(turns, recurred, 100, 50) is None


def test_one_repeat_of_a_failure_that_was_rare_is_not_enough() -> None:
    assert worse(1, 1, 1000, 1) is None
    assert worse(2, 2, 1000, 1) is not None


def test_a_look_says_what_it_saw() -> None:
    said = SoakLook(over=False, seen=120, turns=20, recurred=1)
    assert SoakLook.model_validate(said.model_dump()) == said
    assert timedelta(seconds=30) == SOAK_EVERY
