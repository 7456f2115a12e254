"""The loop: claims, heartbeats, the brake, others' events in between, and what happens when a step raises."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from moss.domain.budget import Spend
from moss.domain.events import LocateResult, Moved, Outcome, Reserved, Stage, StopAsked
from moss.domain.facts import PAUSED
from moss.domain.machine import Do, Done
from moss.domain.results import Located, Suspect
from moss.domain.run import Run
from moss.engine.controller import Idle, Tick
from moss.engine.journal import Journal, append, load
from moss.errors import ClaimLost, NewerSchema, StoreFull, UserError
from moss.ports import Claim, Head
from moss.testing.puppet import Attempt
from moss.testing.workbench import Workbench, workbench

LOCATED = LocateResult(located=Located(suspects=(Suspect(rank=1, path="a.py", line=3, why="it is"),)))
FIX = Attempt(fixes=("case-1", "case-2", "case-3"))


async def at_locate(bench: Workbench) -> Any:
    """A run whose baseline is done: its next step is cheap and may be anything."""
    run = bench.attempts(FIX).start()
    await bench.controller().tick(run)
    return run


def seqs(bench: Workbench, run: Any) -> list[str]:
    return [entry.kind for entry in bench.store.entries(run)]


async def test_a_step_is_reserved_before_it_is_performed_and_settled_after(bench: Workbench) -> None:
    run = await at_locate(bench)
    held: list[Spend] = []

    async def perform(run: Run, do: Do, journal: Journal) -> Done:
        held.append(run.held_back if do.key in run.reserved else Spend())
        return Done(LOCATED, Spend(money_usd=0.01))

    before = bench.run(run).spent
    said = await bench.controller(perform=perform).tick(run)
    after = bench.run(run)
    assert held[0].money_usd == 0.25
    assert after.spent == before + Spend(money_usd=0.01)
    assert after.reserved == {}
    assert said == Tick("ev-01 locate: a.py:3 : it is")
    assert after.next is not None
    assert after.next.stage is Stage.PLAN


async def test_two_controllers_on_one_store_never_both_act(bench: Workbench) -> None:
    run = await at_locate(bench)
    at_work, both = 0, 0
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def perform(run: Run, do: Do, journal: Journal) -> Done:
        nonlocal at_work, both
        at_work += 1
        both = max(both, at_work)
        inside.set()
        await go_on.wait()
        at_work -= 1
        return Done(LOCATED)

    first = asyncio.create_task(bench.controller("one", perform).tick(run))
    await inside.wait()
    assert await bench.controller("two", perform).tick(run) == Tick("ev-01 is another controller's", Idle.TAKEN)
    go_on.set()
    await first
    assert both == 1
    assert seqs(bench, run).count("done") == 2


async def test_what_is_done_after_the_claim_was_lost_is_dropped(bench: Workbench) -> None:
    run = await at_locate(bench)
    before = bench.run(run).seq

    async def slow(run: Run, do: Do, journal: Journal) -> Done:
        bench.clock.tick(100.0)  # the lease runs out, and another takes over
        assert bench.store.claim(run.id, "two", 30.0) is not None
        return Done(LOCATED)

    with pytest.raises(ClaimLost):
        await bench.controller("one", slow, lease=30.0).tick(run)
    assert bench.run(run).seq == before + 1  # only what was reserved
    assert bench.store.claim(run, "one", 30.0) is None


async def test_a_heartbeat_keeps_the_claim_while_a_step_is_long(bench: Workbench) -> None:
    run = await at_locate(bench)
    renewed = asyncio.Event()
    store = bench.store

    real = store.renew

    async def long(run: Run, do: Do, journal: Journal) -> Done:
        await renewed.wait()
        return Done(LOCATED)

    def renew(claim: Claim, seconds: float) -> Claim:
        loop.call_soon_threadsafe(renewed.set)
        return real(claim, seconds)

    loop = asyncio.get_running_loop()
    bench = bench.with_parts(store=_With(store, renew=renew))
    assert "locate" in (await bench.controller("one", long, lease=0.05).tick(run)).says


async def test_a_lost_heartbeat_stops_the_work_in_the_middle(bench: Workbench) -> None:
    run = await at_locate(bench)
    cancelled = []

    async def endless(run: Run, do: Do, journal: Journal) -> Done:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(run.id)
            raise
        raise AssertionError

    def renew(claim: Claim, seconds: float) -> Claim:
        raise ClaimLost("two holds it")

    bench = bench.with_parts(store=_With(bench.store, renew=renew))
    with pytest.raises(ClaimLost, match="two holds it"):
        await bench.controller("one", endless, lease=0.05).tick(run)
    assert cancelled == [run]


async def test_a_cancelled_controller_leaves_the_step_to_the_next(bench: Workbench) -> None:
    run = await at_locate(bench)
    inside = asyncio.Event()

    async def endless(run: Run, do: Do, journal: Journal) -> Done:
        inside.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(bench.controller("one", endless).tick(run))
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "locate" in (await bench.controller("two").tick(run)).says


async def test_an_interruption_while_the_heartbeat_ends_is_not_lost(bench: Workbench) -> None:
    controller = bench.controller()
    journal = await controller._claimed(bench.start())
    assert journal is not None

    async def worker() -> None:
        async with controller._heartbeat(journal):
            this = asyncio.current_task()
            assert this is not None
            asyncio.get_running_loop().call_soon(this.cancel)
        raise AssertionError("it went on")

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(worker())


async def test_the_brake_holds_everything_but_an_open_swap(bench: Workbench) -> None:
    run = await at_locate(bench)
    bench.desk.pause("alice")
    assert bench.store.fact(PAUSED) == "alice"
    assert await bench.controller().tick(run) == Tick("ev-01 is paused", Idle.PAUSED)
    bench.desk.unpause()
    await bench.go(run)
    bench.approve(run)
    while bench.run(run).swap is None or not bench.run(run).swap.critical:  # type: ignore[union-attr]
        await bench.controller().tick(run)
    bench.desk.pause("alice")
    assert (await bench.go(run)).outcome is Outcome.COMMITTED


async def test_a_persons_event_in_between_is_folded_in_and_the_step_kept(bench: Workbench) -> None:
    run = await at_locate(bench)

    async def perform(run: Run, do: Do, journal: Journal) -> Done:
        bench.desk.stop(run.id, "alice")
        return Done(LOCATED)

    await bench.controller(perform=perform).tick(run)
    after = bench.run(run)
    assert after.iterations[0].located == LOCATED.located
    assert after.stop == "alice"
    assert (await bench.go(run)).outcome is Outcome.STOPPED
    assert bench.store.verify(run) is None


@pytest.mark.parametrize("error", [ValueError("a defect"), KeyError("x"), RuntimeError("")])
async def test_an_unexpected_exception_is_recorded_and_never_swallowed(bench: Workbench, error: Exception) -> None:
    run = await at_locate(bench)

    async def broken(run: Run, do: Do, journal: Journal) -> Done:
        raise error

    said = await bench.controller(perform=broken).tick(run)
    after = bench.run(run)
    assert after.outcome is Outcome.FAILED
    assert type(error).__name__ in after.because
    assert type(error).__name__ in said.says
    assert after.reserved == {}
    # nobody knows what it cost: all that was reserved is gone
    assert after.spent.money_usd == pytest.approx(0.25)


async def test_a_store_that_is_full_fails_no_run(bench: Workbench) -> None:
    run = await at_locate(bench)

    def full(*args: Any, **kwargs: Any) -> Any:
        raise StoreFull("no space left")

    filled = bench.with_parts(store=_With(bench.store, append=full))
    with pytest.raises(StoreFull):
        await filled.controller("one").tick(run)
    assert (await bench.go(run)).next is not None
    bench.approve(run)
    assert (await bench.go(run)).outcome is Outcome.COMMITTED


async def test_a_store_that_fills_up_under_trials_fails_no_run(bench: Workbench) -> None:
    run = bench.attempts(FIX).start()
    left = 5

    def full(run: Any, seq: int, at: Any, kind: str, event: Any, head: Head, claim: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreFull("no space left")
        return real(run, seq, at, kind, event, head, claim)

    real = bench.store.append
    with pytest.raises(StoreFull):
        await bench.with_parts(store=_With(bench.store, append=full)).controller("one").tick(run)
    assert bench.run(run).outcome is None
    assert len(bench.run(run).trials) == 4
    await bench.go(run)
    assert bench.run(run).spent.trials == 24


async def test_a_journal_of_a_newer_moss_is_left_to_it(bench: Workbench) -> None:
    run = await at_locate(bench)
    row = bench.store.run(run)
    assert row is not None
    head = Head(row.substrate, row.batch, row.label, "proofread", None)
    event = {"kind": "proofread", "version": 1, "by": "newer"}
    bench.store.append(run, row.seq + 1, bench.clock.now(), "proofread", event, head, None)
    with pytest.raises(NewerSchema, match=r"ev-01 entry \d+ \(proofread\) was written by a newer MOSS"):
        await bench.controller("older").tick(run)
    # the older one does not stand in the newer one's way
    assert bench.store.claim(run, "newer", 30.0) is not None


async def test_a_run_that_is_not_there(bench: Workbench) -> None:
    with pytest.raises(UserError, match="no run ev-99"):
        await bench.controller().tick("ev-99")  # type: ignore[arg-type]


async def test_an_event_that_was_decided_before_is_still_true_after_others(bench: Workbench) -> None:
    run = bench.run(bench.start())
    stale = run
    append(bench.store, run, StopAsked(by="alice"), bench.clock.now(), None)
    after = append(bench.store, stale, Reserved(key="k", amount=Spend(trials=1)), bench.clock.now(), None)  # type: ignore[arg-type]
    assert (after.seq, after.stop) == (3, "alice")
    assert after == load(bench.store, run.id)


async def test_a_rewind_while_a_step_is_performed_is_refused(bench: Workbench) -> None:
    run = await at_locate(bench)
    refused: list[str] = []

    async def perform(run: Run, do: Do, journal: Journal) -> Done:
        for wish in (
            lambda: bench.desk.rewind(run.id, Stage.BASELINE, "alice"),
            lambda: bench.desk.rewind(run.id, Stage.LOCATE, "alice"),
        ):
            with pytest.raises(Exception, match="is at work") as raised:
                wish()
            refused.append(str(raised.value))
        return Done(LOCATED)

    await bench.controller(perform=perform).tick(run)
    assert len(refused) == 2
    assert not [entry for entry in bench.store.entries(run) if entry.kind == Moved.model_fields["kind"].default]


async def test_a_drive_takes_no_more_steps_than_it_is_told(tmp_path: Path) -> None:
    bench = workbench(tmp_path)
    run = bench.attempts(FIX).start()
    await bench.controller().drive(run, steps=2)
    following = bench.run(run).next
    assert following is not None
    assert following.stage is Stage.PLAN


class _With:
    """A store with some methods exchanged."""

    def __init__(self, store: Any, **methods: Any) -> None:
        self._store, self._methods = store, methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._store, name)


async def test_a_drive_takes_the_claim_once_and_sees_a_stop_that_comes_in_between(bench: Workbench) -> None:
    run = bench.attempts(FIX).start()
    whole = bench.performer()
    claims: list[str] = []

    async def perform(run: Run, do: Do, journal: Journal) -> Done:
        claims.append(journal.claim.token)
        done = await whole(run, do, journal)
        if do.step.stage is Stage.PLAN:
            bench.desk.stop(run.id, "alice")
        return done

    await bench.controller(perform=perform).drive(run)
    assert len(claims) > 2
    assert len(set(claims)) == 1
    assert bench.run(run).outcome is Outcome.STOPPED
    assert bench.run(run).iterations[-1].plan is not None
    assert bench.run(run).iterations[-1].plan_review is None
    assert bench.store.claim(run, "another", 10.0) is not None


async def test_what_is_news_is_told_while_the_drive_goes_on(bench: Workbench) -> None:
    run = bench.attempts(FIX).start()
    await bench.controller().drive(run)
    bench.approve(run)
    whole = bench.performer()
    told: dict[str, set[str]] = {}

    async def perform(run: Run, do: Do, journal: Journal) -> Done:
        phase = str(run.swap.phase) if run.swap else ""
        told[phase] = {one.notice.kind for one in bench.store.due(bench.clock.now(), limit=100)}
        return await whole(run, do, journal)

    await bench.controller(perform=perform).drive(run)
    assert "released" not in told["release"]
    assert "released" in told["watch"]
