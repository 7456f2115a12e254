"""The loops of `moss serve`: which runs are looked at in a round of ticks."""

import asyncio
from dataclasses import replace

from moss.domain.facts import PAUSED
from moss.domain.ids import RunId
from moss.engine.controller import Controller, Idle, Tick
from moss.engine.outbox import Outbox
from moss.engine.serve import Pace, Serve
from moss.ports import RunRow, Store
from moss.testing.puppet import Attempt
from moss.testing.workbench import Workbench

FIX = Attempt(fixes=("case-1", "case-2", "case-3"))


class Counted(Controller):
    """A controller that counts how often it was asked to drive a run."""

    driven = 0

    async def drive(self, run_id: RunId, steps: int = 10_000) -> Tick:
        self.driven += 1
        return await super().drive(run_id, steps)


def serve(bench: Workbench, rest: float) -> tuple[Serve, Counted]:
    controller = Counted(bench.parts, bench.performer(), "one", lease=1e6)
    outbox = Outbox(bench.store, (), bench.clock, jitter=lambda: 0.0)
    curator: object = None
    return Serve(
        bench.parts,
        controller,
        curator,
        bench.desk,
        outbox,
        lambda: None,
        Pace(tick=60.0, rest=rest),  # type: ignore[arg-type]
    ), controller


async def test_a_run_that_waits_is_left_alone_until_its_journal_grows(bench: Workbench) -> None:
    run = bench.attempts(FIX).start()
    looped, controller = serve(bench, rest=1e9)
    for _ in range(5):
        await looped._ticks()
    assert controller.driven == 2  # to the consent, and once more since its journal had grown
    bench.approve(run)
    await looped._ticks()
    assert controller.driven == 3
    assert bench.run(run).outcome is not None


async def test_a_run_that_waits_is_looked_at_now_and_then(bench: Workbench) -> None:
    run = bench.attempts(FIX).start()
    looped, controller = serve(bench, rest=0.0)
    await looped._ticks()
    bench.clock.jump(48 * 3600)
    await looped._ticks()
    assert bench.run(run).outcome == "expired"
    assert controller.driven == 2


async def test_a_run_under_the_brake_goes_on_in_the_first_round_without_it(bench: Workbench) -> None:
    run = bench.attempts(FIX).start()
    looped, _ = serve(bench, rest=1e9)
    bench.store.set_fact(PAUSED, "alice")
    await looped._ticks()
    assert bench.run(run).seq == 1
    bench.store.set_fact(PAUSED, None)
    await looped._ticks()
    assert bench.run(run).statement is not None


async def test_a_long_step_of_one_run_does_not_keep_another_from_its_own(bench: Workbench) -> None:
    first = bench.attempts(FIX).start()
    looped, controller = serve(bench, rest=0.0)
    looped.pace = Pace(tick=0.05, rest=0.0)
    held = asyncio.Event()
    others: list[RunId] = []

    async def drive(run_id: RunId, steps: int = 10_000) -> Tick:
        if run_id == first:
            await held.wait()
        others.append(run_id)
        return Tick("rests", Idle.CONSENT)

    controller.drive = drive  # type: ignore[method-assign]
    await looped._ticks()
    assert others == []
    second = replace(bench.store.runs()[0], id=RunId("ev-77"))
    looped.parts = replace(bench.parts, store=Listing(bench.store, [second]))  # type: ignore[arg-type]
    await looped._ticks()
    assert others == ["ev-77"]
    held.set()
    await asyncio.wait(looped._driven.values())
    assert others == ["ev-77", first]


class Listing:
    """A store whose list of runs is given."""

    def __init__(self, store: Store, rows: list[RunRow]) -> None:
        self._store, self._rows = store, rows

    def runs(self, **_: object) -> list[RunRow]:
        return self._rows


async def test_a_loop_outlives_a_defect(bench: Workbench) -> None:
    looped, _ = serve(bench, rest=0.0)
    stop, rounds = asyncio.Event(), 0

    async def once() -> None:
        nonlocal rounds
        rounds += 1
        if rounds > 1:
            stop.set()
        raise OSError("the disk says no")

    async with asyncio.timeout(5):
        await looped._loop(stop, 0.001, once)
    assert rounds == 2
