"""Every outcome of design 3, reached through the whole engine; and what is never promoted."""

from datetime import timedelta
from pathlib import Path

import pytest

from moss.domain.budget import Budget
from moss.domain.depth import Depth
from moss.domain.events import Outcome, Stage
from moss.domain.ids import Key
from moss.domain.run import Run
from moss.engine.aftermath import sweep
from moss.errors import BuildBroken, CoderFailed, Refused
from moss.ports import BoxRole, Vote
from moss.testing.conduct import Conduct
from moss.testing.puppet import Attempt, Puppet
from moss.testing.workbench import Workbench, workbench

ALL = ("case-1", "case-2", "case-3")
FIX = Attempt(fixes=ALL)


def fix(**live: object) -> Attempt:
    """A whole fix whose live version behaves so."""
    return Attempt(fixes=ALL, becomes={"live": Conduct(**live)})  # type: ignore[arg-type]


class Juror:
    """Says one thing, with a quote that is in the evidence (or not)."""

    def __init__(self, name: str, says: str, quote: str = "sorry, not today") -> None:
        self.name, self._says, self._quote = name, says, quote

    def limits(self, batch: object, lessons: object, key: Key) -> Vote:
        return Vote(self.name, self._says, "no source can do it", self._quote)  # type: ignore[arg-type]

    def level(self, sentence: str, record: str, key: Key) -> tuple[int, str]:
        return 3, "as it should be"


def assert_live(bench: Workbench, run: Run, *, candidate: bool) -> None:
    """One version serves, settled, and it is the right one."""
    assert run.statement is not None
    assert bench.target.running == (run.statement.candidate if candidate else run.started.base.image)
    assert bench.target.held is None
    assert bench.target.restart_policy == "always"
    assert bench.store.verify(run.id) is None


async def test_a_fix_is_committed(bench: Workbench) -> None:
    run = await bench.whole(FIX)
    assert run.outcome is Outcome.COMMITTED
    assert_live(bench, run, candidate=True)
    assert bench.source.published == {"moss_live": run.iterations[0].work}
    sweep(bench.store, bench.boxes, bench.parts.settings.home)
    assert not bench.boxes.list()
    assert not list((bench.parts.settings.home / "work").iterdir())


async def test_a_committed_run_is_reverted_by_the_operator(bench: Workbench) -> None:
    run = await bench.whole(FIX)
    bench.desk.rollback(None, "alice", "odd answers")
    run = await bench.go(run.id)
    assert run.outcome is Outcome.REVERTED
    assert_live(bench, run, candidate=False)


async def test_a_run_in_its_soak_is_reverted_by_the_operator(tmp_path: Path) -> None:
    bench = workbench(tmp_path)
    bench = bench.with_settings(swap=bench.parts.settings.swap.model_copy(update={"soak_hours": 5.0}))
    run = await bench.whole(FIX)
    assert run.outcome is None
    assert run.next is not None
    assert run.next.stage is Stage.SOAK
    bench.desk.rollback(run.id, "alice", "odd answers")
    assert (await bench.go(run.id)).outcome is Outcome.REVERTED
    assert_live(bench, bench.run(run.id), candidate=False)


async def test_rejected(bench: Workbench) -> None:
    run = await bench.go(bench.attempts(FIX).start())
    bench.desk.reject(run.id, "alice", "not now")
    run = await bench.go(run.id)
    assert (run.outcome, run.because) == (Outcome.REJECTED, "alice: not now")


async def test_expired_while_it_waits(bench: Workbench) -> None:
    run = await bench.go(bench.attempts(FIX).start())
    bench.clock.tick(timedelta(hours=25).total_seconds())
    assert (await bench.go(run.id)).outcome is Outcome.EXPIRED


async def test_expired_between_the_yes_and_the_preflight(bench: Workbench) -> None:
    run = await bench.go(bench.attempts(FIX).start())
    bench.approve(run.id)
    bench.clock.tick(timedelta(hours=25).total_seconds())
    assert (await bench.go(run.id)).outcome is Outcome.EXPIRED
    assert bench.target.starts == [bench.base]


async def test_stale_when_somebody_else_replaced_it(bench: Workbench) -> None:
    run = await bench.go(bench.attempts(FIX).start())
    bench.approve(run.id)
    other = run.iterations[0].build
    assert other is not None
    assert other.version is not None
    image = bench.parts.builder.find(other.version.image)
    assert image is not None
    bench.target.images[image.digest] = image
    bench.target.replace(image.digest)
    assert (await bench.go(run.id)).outcome is Outcome.STALE


@pytest.mark.parametrize(
    ("seen", "because"),
    [
        (Conduct(exits_after=0), "exited"),
        (Conduct(ready_after=None), "not ready after"),
        (Conduct(health_fails=True), "not healthy"),
        (Conduct(answers=False), "status 500"),
        (Conduct(dies_under=1), "no answer to the canary"),
    ],
)
async def test_unfit_touches_nothing_live(bench: Workbench, seen: Conduct, because: str) -> None:
    run = await bench.whole(Attempt(fixes=ALL, becomes={"preflight": seen}))
    assert run.outcome is Outcome.UNFIT
    assert because in run.because
    assert bench.target.starts == [bench.base]
    assert {call.step for call in bench.target.calls} <= {"current", "state_copy"}
    assert {box.role for box in bench.boxes.list()} <= {BoxRole.CODER}


@pytest.mark.parametrize("limit", ["limit_model", "limit_architecture"])
async def test_two_jurors_with_quotes_end_a_run_at_a_limit(tmp_path: Path, limit: str) -> None:
    bench = workbench(tmp_path, judges=(Juror("a", limit), Juror("b", limit)))
    assert (await bench.whole(Attempt())).outcome == limit


@pytest.mark.parametrize(
    "judges",
    [
        (Juror("a", "limit_model"),),
        (Juror("a", "limit_model"), Juror("b", "limit_model", "never said")),
        (Juror("a", "limit_model"), Juror("b", "limit_architecture")),
        (Juror("a", "limit_model"), Juror("b", "fixable")),
    ],
)
async def test_a_single_unquoted_or_split_vote_ends_nothing(tmp_path: Path, judges: tuple[Juror, ...]) -> None:
    bench = workbench(tmp_path, judges=judges)
    assert (await bench.whole(Attempt())).outcome is Outcome.NO_IMPROVEMENT


async def test_anyway_goes_on_against_the_votes(tmp_path: Path) -> None:
    bench = workbench(tmp_path, judges=(Juror("a", "limit_model"), Juror("b", "limit_model")))
    run = await bench.whole(Attempt(), FIX, anyway=True, depth=Depth.STANDARD)
    assert run.outcome is Outcome.COMMITTED


async def test_not_reproduced(tmp_path: Path) -> None:
    bench = workbench(tmp_path)
    live = Puppet.of(bench.builder.tree(bench.base))
    live.model_copy(update={"fixed": ALL}).write(bench.builder.tree(bench.base))
    run = await bench.whole()
    assert run.outcome is Outcome.NOT_REPRODUCED
    assert not bench.paid


async def test_no_improvement_by_plateau(bench: Workbench) -> None:
    run = await bench.whole(Attempt())
    assert run.outcome is Outcome.NO_IMPROVEMENT
    assert run.statement is None


async def test_out_of_budget_of_trials(bench: Workbench) -> None:
    run = await bench.whole(FIX, budget=Budget(trials=15))
    assert run.outcome is Outcome.OUT_OF_BUDGET
    assert run.spent.trials == 15
    assert run.held_back.trials == 15


async def test_out_of_budget_of_money_before_it_is_spent(bench: Workbench) -> None:
    run = await bench.whole(FIX, budget=Budget(money_usd=0.26))
    assert run.outcome is Outcome.OUT_OF_BUDGET
    assert run.spent.money_usd <= 0.26
    assert len(bench.paid) == 2  # a call takes 0.01 of the 0.25 that it reserves


async def test_stopped_at_the_next_safe_point_and_resumed(bench: Workbench) -> None:
    run_id = bench.attempts(FIX).start()
    controller = bench.controller()
    await controller.tick(run_id)
    bench.desk.stop(run_id, "alice")
    run = await bench.go(run_id)
    assert (run.outcome, run.because) == (Outcome.STOPPED, "stopped by alice")
    assert run.last is not None
    assert run.last.stage is Stage.LOCATE
    bench.desk.resume(run_id, "alice")
    assert (await bench.go(run_id)).next is not None
    bench.approve(run_id)
    assert (await bench.go(run_id)).outcome is Outcome.COMMITTED


async def test_a_failed_coder_is_tried_again_and_then_fails_the_run(bench: Workbench) -> None:
    run = await bench.whole(Attempt(errors={"plan": CoderFailed.__name__}))
    assert run.outcome is Outcome.FAILED
    assert [key for key in bench.paid if "/plan/" in key] == ["ev-01/1/plan/1", "ev-01/1/plan/1.2"]
    assert bench.store.verify(run.id) is None


async def test_a_broken_builder_fails_the_run_and_says_so(bench: Workbench) -> None:
    bench.builder.fail("*/build/*", BuildBroken("the disk is gone"), times=2)
    run = await bench.whole(FIX)
    assert run.outcome is Outcome.FAILED
    assert "the disk is gone" in run.because


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        (Attempt(fixes=ALL, becomes={"builds": False}), "does not build"),
        (Attempt(fixes=ALL, becomes={"checks": False}), "check fails"),
        (Attempt(fixes=ALL, becomes={"broken": ("guard-2",)}), "went well before"),
        (Attempt(fixes=ALL, writes={"tests/test_puppet.txt": None}), "policy refused"),
        (Attempt(fixes=ALL, plans_rejected=9), "plan was rejected"),
        (Attempt(fixes=ALL, codes_rejected=9), "code was rejected"),
        (Attempt(idle=True), "nothing was changed"),
    ],
)
async def test_what_row_two_forbids_is_never_offered_and_goes_back_as_feedback(
    bench: Workbench, attempt: Attempt, said: str
) -> None:
    run = await bench.whole(attempt, attempt, attempt)
    assert run.outcome is Outcome.NO_IMPROVEMENT
    assert run.statement is None
    first = run.iterations[0].verdict
    assert first is not None
    assert first.row == 2
    assert said in " ".join(first.feedback)


async def test_the_next_iteration_hears_what_was_wrong_and_mends_it(bench: Workbench) -> None:
    run = await bench.whole(Attempt(fixes=ALL, becomes={"checks": False}), Attempt(fixes=ALL, becomes={"checks": True}))
    assert run.outcome is Outcome.COMMITTED
    assert [one.number for one in run.iterations] == [1, 2]


async def test_worse_then_partial_then_fixed_starts_from_the_partial_commit(bench: Workbench) -> None:
    run = await bench.whole(
        Attempt(becomes={"broken": ("guard-1",)}),
        Attempt(fixes=("case-1",)),
        Attempt(fixes=("case-2", "case-3")),
        depth=Depth.STANDARD,
    )
    assert run.outcome is Outcome.COMMITTED
    first, second, third = run.iterations
    assert first.start == second.start == run.started.base.commit
    assert third.start == second.work


async def test_the_better_earlier_iteration_is_offered_as_partial(bench: Workbench) -> None:
    run = await bench.whole(
        Attempt(fixes=("case-1", "case-2")), Attempt(unfixes=("case-2",)), Attempt(unfixes=("case-1",)),
        depth=Depth.STANDARD,
    )  # fmt: skip
    assert run.outcome is Outcome.COMMITTED
    assert run.verdict is not None
    assert (run.verdict.partial, run.verdict.chosen) == (True, 1)
    assert run.verdict.fixed == ("case-1", "case-2")
    assert [failure.turn.user for failure in bench.store.failures(unbatched=True)] == ["case-3"]


@pytest.mark.parametrize(("depth", "iterations"), [(Depth.LIGHT, 2), (Depth.STANDARD, 3), (Depth.DEEP, 4)])
async def test_a_plateau_ends_a_run_at_each_depth(tmp_path: Path, depth: Depth, iterations: int) -> None:
    bench = workbench(tmp_path, cases=1)
    run = await bench.whole(*[Attempt()] * 8, depth=depth)
    assert run.outcome is Outcome.NO_IMPROVEMENT
    assert len(run.iterations) <= iterations


@pytest.mark.slow
async def test_deep_reaches_eight_iterations(tmp_path: Path) -> None:
    bench = workbench(tmp_path, cases=8, guards=8)
    run = await bench.whole(*[Attempt(fixes=(f"case-{number}",)) for number in range(1, 9)], depth=Depth.DEEP)
    assert run.outcome is Outcome.COMMITTED
    assert len(run.iterations) == 8


# ------------------------------------------------------------------ what a swap ends in


@pytest.mark.parametrize(
    ("live", "because"),
    [
        ({"exits_after": 0}, "exited 1"),
        ({"exits_after": 1, "ready_after": 3}, "exited 1"),
        ({"ready_after": None}, "not ready"),
        ({"health_fails": True}, "failed"),
        ({"answers": False}, "status 500"),
        ({"dies_under": 1}, "no answer to the canary"),
        ({"exits_after_ready": 3}, "exited 1"),
        ({"migrates": True, "exits_after_ready": 3}, "exited 1"),
    ],
)
async def test_a_bad_candidate_ends_with_the_old_version_serving(
    bench: Workbench, live: dict[str, object], because: str
) -> None:
    run = await bench.whole(fix(**live))
    assert run.outcome is Outcome.ROLLED_BACK
    assert run.swap is not None
    assert because in run.swap.because
    assert_live(bench, run, candidate=False)


async def test_a_late_but_good_candidate_passes(bench: Workbench) -> None:
    run = await bench.whole(fix(ready_after=10))
    assert run.outcome is Outcome.COMMITTED


# ------------------------------------------------------------------ what is never promoted


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutant",
    [Attempt(), Attempt(fixes=ALL, becomes={"broken": ("guard-3",)})],
    ids=["an unchanged rebuild", "a mutant that breaks a guard"],
)
async def test_twenty_times_through_the_loop_promotes_nothing(tmp_path: Path, mutant: Attempt) -> None:
    for number in range(20):
        bench = workbench(tmp_path / str(number))
        run = await bench.whole(*[mutant] * 3)
        assert run.outcome is Outcome.NO_IMPROVEMENT
        assert bench.target.starts == [bench.base]
        with pytest.raises(Refused):
            bench.desk.rollback(run.id, "alice", "nothing there")
