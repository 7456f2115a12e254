"""Waves of trials: what is wanted, what is on record, what it costs, and whose fault it was."""

from pathlib import Path
from typing import Any

import pytest

from moss.config import ProcessBoxes
from moss.domain.budget import Budget
from moss.domain.depth import Depth
from moss.domain.events import Outcome, Stage, Step, TrialEnded
from moss.domain.ids import CaseId, Digest, Key, RunId
from moss.domain.run import Run
from moss.domain.trial import Answer, Trial, WorldKind
from moss.engine.journal import Journal
from moss.engine.trials import Trials
from moss.errors import BoxLost, BoxRefused, GatewayDown
from moss.gateway.script import Fault, Script, ScriptRule
from moss.gateway.wire import Asked, Said
from moss.ports import BoxExit, BoxRole, ExitReason
from moss.testing.conduct import Conduct
from moss.testing.puppet import Attempt, Puppet
from moss.testing.workbench import Workbench, workbench

FIX = Attempt(fixes=("case-1", "case-2", "case-3"))
BASELINE = Step(stage=Stage.BASELINE)


def shown(run: Run) -> set[tuple[Any, ...]]:
    """What the trials showed, whatever their order and time."""
    return {(one.key, one.case, one.version, one.repeat, one.valid, one.passed, one.marks) for one in run.trials}


async def baseline(bench: Workbench) -> Run:
    """The run after its first wave."""
    run = bench.attempts(FIX).start()
    await bench.controller().tick(run)
    return bench.run(run)


async def test_running_side_by_side_changes_no_result(tmp_path: Path) -> None:
    one = workbench(tmp_path / "one", boxes=ProcessBoxes(parallel=1))
    many = workbench(tmp_path / "many", boxes=ProcessBoxes(parallel=8))
    single, wide = await one.whole(FIX), await many.whole(FIX)
    assert shown(single) == shown(wide)
    assert single.outcome is wide.outcome is Outcome.COMMITTED
    assert len(single.trials) == 24


async def test_no_more_boxes_run_at_once_than_the_settings_allow(tmp_path: Path) -> None:
    bench = workbench(tmp_path, boxes=ProcessBoxes(parallel=2))
    run = bench.attempts(FIX).start()
    most = 0
    real = bench.boxes.launch

    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.boxes, name)

        def launch(self, spec: Any) -> Any:
            nonlocal most
            most = max(most, 1 + len(bench.boxes.list()))
            return real(spec)

    await bench.with_parts(boxes=Counted()).controller().tick(run)
    assert most == 2


@pytest.mark.parametrize("error", [BoxLost("evicted"), GatewayDown("no answer")])
async def test_what_is_our_own_fault_is_invalid_rerun_and_never_a_fail(bench: Workbench, error: Any) -> None:
    bench.boxes.fail("*/baseline/guard-1/live/1", error)
    run = await bench.whole(FIX)
    assert run.outcome is Outcome.COMMITTED
    invalid = [trial for trial in run.trials if not trial.valid]
    assert [(trial.case, trial.passed) for trial in invalid] == [("guard-1", False)]
    assert type(error).__name__ in (invalid[0].invalid_because or "")
    assert len(run.trials) == 25
    assert run.spent.trials == 25


async def test_a_box_that_is_removed_under_its_trial_is_no_fail(bench: Workbench) -> None:
    gone: list[Key] = []

    class Snatching:
        """Takes one box away under a turn."""

        def __getattr__(self, name: str) -> Any:
            return getattr(bench.parts.turns, name)

        def send(self, place: Any, session: str, message: str, seconds: float) -> Any:
            if message != "guard-2" or gone:
                return bench.parts.turns.send(place, session, message, seconds)
            gone.append(place.box.key)
            bench.boxes.lose(place.box.key)
            return Answer(error="connection reset")

    run = bench.attempts(FIX).start()
    await bench.with_parts(turns=Snatching()).controller().drive(run)
    assert gone
    lost = [trial for trial in bench.run(run).trials if not trial.valid]
    assert [trial.key for trial in lost] == gone
    bench.approve(run)
    assert (await bench.go(run)).outcome is Outcome.COMMITTED


async def test_a_model_that_fails_makes_trials_invalid_until_the_budget_of_patience_is_gone(tmp_path: Path) -> None:
    down = Script(rules=(ScriptRule(fault=Fault(status=503)),))
    bench = workbench(tmp_path, cases=1, model=down)
    run = await bench.whole(FIX)
    assert run.outcome is Outcome.OUT_OF_BUDGET
    assert "were invalid" in run.because
    assert not any(trial.valid for trial in run.trials)


@pytest.mark.parametrize(
    "conduct",
    [Conduct(dies_under=1), Conduct(ready_after=None), Conduct(exits_after=0), Conduct(answers=False)],
    ids=["dies", "never ready", "exits", "no answer"],
)
async def test_a_candidate_that_dies_or_never_starts_has_failed_and_is_valid(
    bench: Workbench, conduct: Conduct
) -> None:
    run = await bench.whole(*[Attempt(fixes=FIX.fixes, becomes={"trial": conduct})] * 3)
    assert run.outcome is Outcome.NO_IMPROVEMENT
    tried = [trial for trial in run.trials if trial.version != run.started.base.image]
    assert tried
    assert all(trial.valid and not trial.passed for trial in tried)


async def test_a_resumed_wave_runs_only_what_is_missing(bench: Workbench) -> None:
    run_id = bench.attempts(FIX).start()
    run, step = bench.run(run_id), BASELINE
    for case, repeat in (("case-1", 1), ("case-2", 2), ("guard-1", 2)):  # they end in any order
        run = record(bench, run, step, trial(bench, run_id, case, repeat, passed=case.startswith("guard")))
    await bench.controller().tick(run_id)
    after = bench.run(run_id)
    keys = [one.key for one in after.trials]
    assert len(keys) == len(set(keys)) == 12
    assert {one.repeat for one in after.trials if one.case == "case-2"} == {1, 2}
    launched = [spec.key for spec in bench.boxes.launched if spec.role is BoxRole.TRIAL]
    assert len(launched) == 9
    assert after.spent.trials == 12


def trial(bench: Workbench, run: RunId, case: str, repeat: int, *, passed: bool) -> Trial:
    key = Key(f"{run}/0/baseline/{case}/live/{repeat}")
    return Trial(
        key=key, case=CaseId(case), version=bench.base, repeat=repeat, valid=True, passed=passed, money_usd=0.5
    )


def record(bench: Workbench, run: Run, step: Step, one: Trial) -> Run:
    from moss.engine.journal import append

    return append(bench.store, run, TrialEnded(step=step, trial=one), bench.clock.now(), None)


async def test_money_of_trials_before_a_kill_stays_counted(bench: Workbench) -> None:
    run_id = bench.start()
    record(bench, bench.run(run_id), BASELINE, trial(bench, run_id, "case-1", 1, passed=False))
    await bench.controller().tick(run_id)
    assert bench.run(run_id).spent.money_usd == pytest.approx(0.5)
    assert bench.run(run_id).reserved == {}


async def test_a_short_budget_runs_what_it_pays_for_and_says_so(bench: Workbench) -> None:
    run = bench.run(bench.start(budget=Budget(trials=5)))
    claim = bench.store.claim(run.id, "one", 30.0)
    assert claim is not None
    journal = Journal(bench.store, bench.clock, run, claim)
    trials = Trials(bench.parts, _runner(bench))
    wave = await trials.baseline(run, BASELINE, journal, bench.batch)
    assert wave.ran == 5
    assert wave.short == "trials: 12 wanted, 5 of 5 left"
    assert journal.run.spent.trials == 5
    assert journal.run.held_back.trials == 5


def _runner(bench: Workbench) -> Any:
    from moss.domain.detect import Detectors
    from moss.engine.trial_run import TrialRun

    return TrialRun(bench.parts, Detectors(()), look=0.0)


async def test_a_missing_image_is_said_in_one_sentence(bench: Workbench) -> None:
    bench = bench.with_settings(substrate=bench.parts.settings.substrate.model_copy(update={"check": ()}))
    run = bench.start()
    bench.builder.remove(bench.base)
    await bench.controller().tick(run)
    after = bench.run(run)
    assert after.outcome is Outcome.FAILED
    assert after.because.startswith("BoxRefused: the image sha256:")


async def test_an_error_of_one_trial_is_told_by_its_own_name(bench: Workbench) -> None:
    bench.boxes.fail("*/case-2/live/1", BoxRefused("no such image"))
    run = bench.start()
    await bench.controller().tick(run)
    assert bench.run(run).because == "BoxRefused: no such image"


async def test_a_lost_grader_or_check_box_never_counts_against_the_candidate(bench: Workbench) -> None:
    bench.boxes.fail("*/check/1/check", BoxLost("evicted"))
    run = await bench.whole(FIX)
    assert run.outcome is Outcome.COMMITTED
    checks = [spec.key for spec in bench.boxes.launched if spec.role is BoxRole.CHECK]
    assert checks == ["ev-01/0/baseline/1/check", "ev-01/1/check/1/check", "ev-01/1/check/1.2/check"]


async def test_a_check_that_is_killed_by_its_bound_has_failed(bench: Workbench) -> None:
    bench.boxes.fail("ev-01/*/check/1/check", BoxExit(137, ExitReason.MEMORY, 1.0))
    run = await bench.whole(FIX)
    assert run.iterations[0].check is not None
    assert not run.iterations[0].check.ok
    assert "the box ended it: memory" in run.iterations[0].check.tail


async def test_every_trial_has_a_record_from_outside(bench: Workbench) -> None:
    run = await baseline(bench)
    for one in run.trials:
        assert one.record is not None
        assert bench.store.get(one.record) is not None
        assert one.world is WorldKind.REPLAYED
        assert bench.gateway.usage(one.key).requests == 1
    assert not [box for box in bench.boxes.list() if box.role is BoxRole.TRIAL]


async def test_a_silent_substrate_is_judged_by_what_is_seen_from_outside(bench: Workbench) -> None:
    run = await bench.whole(Attempt(fixes=FIX.fixes, becomes={"silent": True}))
    assert run.outcome is Outcome.COMMITTED


# ------------------------------------------------------------------ a live world


def speaks(asked: Asked) -> Said:
    return Said("ok")


async def test_a_flaky_case_in_a_live_world_is_not_proven_by_luck(tmp_path: Path) -> None:
    bench = workbench(tmp_path, cases=1, model=speaks)
    live = Puppet.of(bench.builder.tree(bench.base)).model_copy(update={"flaky": ("case-1",)})
    live.write(bench.builder.tree(bench.base))
    run = await bench.whole(*[Attempt(becomes={"flaky": ("case-1",)})] * 5, depth=Depth.STANDARD)
    assert run.outcome is Outcome.NO_IMPROVEMENT
    assert all(trial.world is WorldKind.LIVE for trial in run.trials)


async def test_a_real_fix_in_a_live_world_is_extended_until_it_is_proven(tmp_path: Path) -> None:
    bench = workbench(tmp_path, cases=3, model=speaks)
    run = await bench.whole(FIX, depth=Depth.STANDARD)
    assert run.outcome is Outcome.COMMITTED
    assert run.verdict is not None
    assert run.verdict.numbers.p is not None
    assert run.verdict.numbers.p < 0.05


def test_a_puppets_image_is_named_by_its_source(bench: Workbench) -> None:
    assert bench.base == Digest(bench.target.current().image.digest)
