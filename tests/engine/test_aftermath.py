"""What follows from a journal: notices once by id, the batch's state, leftovers; also after a kill in between."""

from pathlib import Path
from typing import Any

import pytest

from moss.domain.batch import BatchState
from moss.domain.events import Outcome
from moss.domain.ids import Key, RunId
from moss.engine.aftermath import catch_up, follow, sweep
from moss.engine.notices import EXPIRING, announce
from moss.engine.outbox import Outbox
from moss.engine.places import run_folder
from moss.errors import StoreFull
from moss.ports import BoxRole, BoxSpec
from moss.testing.conduct import Conduct
from moss.testing.notifiers import MemoryNotifier
from moss.testing.puppet import Attempt
from moss.testing.workbench import Workbench, workbench

FIX = Attempt(fixes=("case-1",))


@pytest.fixture
def small(tmp_path: Path) -> Workbench:
    return workbench(tmp_path / "bench", cases=1)


def kinds(bench: Workbench) -> list[str]:
    """All notices in the outbox, in order."""
    found = sorted(bench.store.due(bench.clock.now(), 100), key=lambda out: int(out.notice.id.split("/")[1]))
    return [out.notice.kind for out in found]


async def test_a_good_run_tells_its_moments_once(small: Workbench) -> None:
    await small.whole(FIX)
    assert kinds(small) == ["run_started", "consent_wanted", "released", "committed", "run_ended"]


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (Attempt(), ["run_started", "run_ended"]),
        (
            Attempt(fixes=("case-1",), becomes={"live": Conduct(exits_after_ready=2)}),
            ["run_started", "consent_wanted", "released", "rolled_back", "run_ended"],
        ),
        (Attempt(errors={"plan": "CoderFailed"}), ["run_started", "operator_needed", "run_ended"]),
    ],
)
async def test_a_bad_run_tells_what_it_came_to(small: Workbench, attempt: Attempt, told: list[str]) -> None:
    await small.whole(attempt)
    assert kinds(small) == told


async def test_a_reverted_run_tells_that_it_was_rolled_back(small: Workbench) -> None:
    run = (await small.whole(FIX)).id
    small.desk.rollback(run, "alice", "odd")
    await small.go(run)
    assert kinds(small).count("rolled_back") == 1


async def test_a_consent_that_expires_soon_is_told_once(small: Workbench) -> None:
    run = (await small.go(small.attempts(FIX).start())).id
    for hours in (21, 1.5, 0.5):
        small.clock.tick(hours * 3600)
        await small.go(run)
    found = [out.notice for out in small.store.due(small.clock.now(), 100) if out.notice.kind == "consent_expiring"]
    assert len(found) == 1
    statement = small.run(run).statement
    assert statement is not None
    assert found[0].at >= statement.expires - EXPIRING
    assert found[0].body["expires"] == statement.expires.isoformat()


class Failing:
    """A store in which the `at`-th call of a method that changes something fails, as a kill there would."""

    def __init__(self, store: Any, at: int) -> None:
        self._store, self._left = store, at

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in ("enqueue", "set_fact", "set_batch"):
            return found

        def called(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                raise StoreFull("here")
            return found(*args, **kwargs)

        return called


@pytest.mark.parametrize("at", range(1, 9))
async def test_what_a_kill_left_untold_is_told_once_after_the_restart(small: Workbench, at: int) -> None:
    run = await small.whole(FIX)
    told = workbench(small.parts.settings.root / "other", cases=1)
    again = await told.whole(FIX)
    # the same journal, followed from the beginning, killed at one of its writes
    small.store.set_fact(f"announced:{run.id}", None)
    small.store.set_batch(run.started.batch, BatchState.RUNNING, run.id)
    broken: Any = Failing(small.store, at)
    try:
        follow(broken, run, small.clock.now())
    except StoreFull:
        catch_up(small.store, small.clock.now())
    assert kinds(small) == kinds(told)
    assert again.outcome is run.outcome
    assert [row.id for row in small.store.batches(BatchState.DONE)] == [run.started.batch]
    assert small.store.fact(f"announced:{run.id}") == str(run.seq)


async def test_announcing_again_changes_nothing_and_writes_nothing(small: Workbench) -> None:
    run = await small.whole(FIX)
    before = kinds(small)
    announce(Failing(small.store, 1), run, small.clock.now())  # type: ignore[arg-type]
    assert kinds(small) == before


async def test_a_run_that_was_rejected_from_outside_is_caught_up_with(small: Workbench) -> None:
    run = await small.go(small.attempts(FIX).start())
    small.desk.reject(run.id, "alice", "no")
    small.store.set_fact(f"announced:{run.id}", str(run.seq))
    small.store.set_batch(run.started.batch, BatchState.RUNNING, run.id)
    catch_up(small.store, small.clock.now())
    assert [failure.turn.user for failure in small.store.failures(unbatched=True)] == ["case-1"]


async def test_each_notice_reaches_a_receiver_once(small: Workbench) -> None:
    await small.whole(FIX)
    notifier = MemoryNotifier()
    outbox = Outbox(small.store, (notifier,), small.clock)
    assert outbox.deliver_due() == 5
    catch_up(small.store, small.clock.now())
    assert outbox.deliver_due() == 0
    assert len({notice.id for notice in notifier.sent}) == len(notifier.sent) == 5


# ------------------------------------------------------------------ the batch


@pytest.mark.parametrize(
    ("attempts", "outcome", "back"),
    [
        ((FIX,), Outcome.COMMITTED, []),
        ((Attempt(),), Outcome.NO_IMPROVEMENT, ["case-1"]),
        ((Attempt(fixes=("case-1",), becomes={"live": Conduct(answers=False)}),), Outcome.ROLLED_BACK, ["case-1"]),
    ],
)
async def test_failures_that_are_not_fixed_live_return_to_the_pool(
    small: Workbench, attempts: tuple[Attempt, ...], outcome: Outcome, back: list[str]
) -> None:
    run = await small.whole(*attempts)
    assert run.outcome is outcome
    assert [failure.turn.user for failure in small.store.failures(unbatched=True)] == back
    assert [row.id for row in small.store.batches(BatchState.DONE)] == [small.batch.id]


async def test_a_batch_of_another_run_is_left_alone(small: Workbench) -> None:
    run = await small.whole(Attempt())
    small.store.set_batch(small.batch.id, BatchState.RUNNING, RunId("ev-50"))
    follow(small.store, run, small.clock.now())
    assert [row.run for row in small.store.batches(BatchState.RUNNING)] == ["ev-50"]


# ------------------------------------------------------------------ leftovers


async def test_a_sweep_leaves_open_runs_alone_and_clears_ended_and_unknown_ones(small: Workbench) -> None:
    home = small.parts.settings.home
    run = (await small.go(small.attempts(FIX).start())).id
    orphan = BoxSpec(key=Key("ev-77/x"), run=RunId("ev-77"), role=BoxRole.CHECK, argv=("puppet",))
    small.boxes.launch(orphan)
    run_folder(home, "ev-77").mkdir(parents=True)
    run_folder(home, run).mkdir(parents=True, exist_ok=True)
    mine = {box.key for box in small.boxes.list(run)}
    assert sweep(small.store, small.boxes, home) == 2
    assert {box.key for box in small.boxes.list()} == mine
    assert run_folder(home, run).is_dir()
    small.desk.reject(run, "a", "no")
    assert sweep(small.store, small.boxes, home) == len(mine) + 1
    assert not small.boxes.list()
    assert not run_folder(home, run).exists()


async def test_a_sweep_leaves_what_a_command_beside_it_builds_and_probes_in(small: Workbench) -> None:
    home = small.parts.settings.home
    for name in ("adopt", "probe"):
        small.boxes.launch(BoxSpec(key=Key(f"{name}/x"), run=RunId(name), role=BoxRole.BUILD, argv=("puppet",)))
        run_folder(home, name).mkdir(parents=True)
    assert sweep(small.store, small.boxes, home) == 0
    assert {box.run for box in small.boxes.list()} == {"adopt", "probe"}
    assert run_folder(home, "adopt").is_dir()


async def test_a_stopped_run_keeps_what_it_may_be_resumed_on(small: Workbench) -> None:
    run = small.attempts(FIX).start()
    await small.controller().drive(run, steps=3)
    small.desk.stop(run, "alice")
    await small.go(run)
    folder = run_folder(small.parts.settings.home, run)
    assert folder.is_dir()
    sweep(small.store, small.boxes, small.parts.settings.home)
    assert folder.is_dir()
