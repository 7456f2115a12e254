"""The run machine: every outcome of design 3, every road between the stages, and resuming at any event."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from play import BASE, CASES, GUARDS, Play, image, started, trial

from moss.domain.budget import Budget, Spend
from moss.domain.depth import DIALS, Depth
from moss.domain.events import (
    BaselineResult,
    BuildResult,
    CheckResult,
    CodeReviewResult,
    Ended,
    ImplementResult,
    JurorVote,
    Moved,
    Outcome,
    PlanReviewResult,
    PreflightResult,
    SoakLook,
    Stage,
    Step,
    StepFailed,
    StopAsked,
    UndoAsked,
    read_event,
)
from moss.domain.ids import Digest, Key
from moss.domain.machine import Do, decide
from moss.domain.results import CodeReview, PlanFault, PlanReview
from moss.domain.run import Run, apply, begin
from moss.domain.swap import Phase, PhaseResult, Swap
from moss.domain.trial import Trial

ALL = dict.fromkeys(range(1, 9), CASES)
GOOD = {1: CASES}


def stages(play: Play) -> list[str]:
    """The steps that were done, as words: `1/plan/2`."""
    return [
        f"{event.step.iteration}/{event.step.stage}/{event.step.round}"
        for event, _ in play.events
        if event.kind == "done"
    ]


def committed(play: Play) -> Run:
    return play.on(play.consent(play.all()))


# ------------------------------------------------------------------ the good road


def test_one_good_iteration_walks_all_stages_and_waits_for_consent() -> None:
    play = Play(fixes=GOOD)
    run = play.all()
    assert stages(play) == [
        "0/baseline/1", "1/locate/1", "1/plan/1", "1/plan_review/1", "1/implement/1", "1/code_review/1",
        "1/build/1", "1/check/1", "1/trial/1", "1/evaluate/1", "1/verdict/1",
    ]  # fmt: skip
    assert run.next is not None
    assert run.next.stage is Stage.CONSENT
    assert run.statement is not None
    assert (run.statement.base, run.statement.candidate) == (BASE, image(1))
    assert decide(run, play.now) is None


def test_after_a_consent_it_is_swapped_and_committed() -> None:
    play = Play(fixes=GOOD)
    run = committed(play)
    assert run.outcome is Outcome.COMMITTED
    assert stages(play)[11:14] == ["1/preflight/1", "1/swap/1", "1/swap/2"]
    assert stages(play)[-2:] == ["1/swap/10", "1/soak/1"]


def test_keys_are_never_used_twice() -> None:
    play = Play(fixes={1: CASES[:1], 2: CASES[:2], 3: CASES}, results={(Stage.PLAN_REVIEW, 1, 1): no_plan()})
    committed(play)
    keys = [event.key for event, _ in play.events if event.kind == "done"]
    assert len(keys) == len(set(keys)) > 30


# ------------------------------------------------------------------ rounds


def no_plan(fault: PlanFault = PlanFault.OFF_TARGET) -> PlanReviewResult:
    return PlanReviewResult(review=PlanReview(accepted=False, fault=fault, reason="misses the cause"))


def no_code() -> CodeReviewResult:
    return CodeReviewResult(review=CodeReview(accepted=False, reason="swallows the error"))


def test_a_rejected_plan_gets_another_round_and_then_another_iteration() -> None:
    play = Play(fixes=ALL, results={(Stage.PLAN_REVIEW, 1, round): no_plan() for round in (1, 2)})
    run = play.all()
    assert stages(play)[1:8] == [
        "1/locate/1", "1/plan/1", "1/plan_review/1", "1/plan/2", "1/plan_review/2", "1/verdict/1", "2/locate/1",
    ]  # fmt: skip
    assert run.iterations[0].verdict is not None
    assert "misses the cause" in " ".join(run.iterations[0].verdict.feedback)
    assert run.next is not None
    assert run.next.stage is Stage.CONSENT


def test_a_rejected_code_round_keeps_the_work_before_it() -> None:
    play = Play(fixes=GOOD, results={(Stage.CODE_REVIEW, 1, 1): no_code()})
    run = play.begin(started())
    while run.next is None or (run.next.stage, run.next.round) != (Stage.IMPLEMENT, 2):
        do = decide(run, play.now)
        assert isinstance(do, Do)
        run = play.step(run, do)
    assert run.iterations[0].work is not None
    assert run.iterations[0].work.endswith("01")
    assert run.iterations[0].code_review is not None
    assert play.on(run).statement is not None


def test_a_change_that_the_policy_refuses_is_a_used_round_with_feedback() -> None:
    refused = ImplementResult(commit=None, breaches=("tests/test_a.py: a test may not be deleted",))
    play = Play(fixes=ALL, results={(Stage.IMPLEMENT, 1, round): refused for round in (1, 2)})
    run = play.all()
    assert "1/code_review/1" not in stages(play)
    assert run.iterations[0].verdict is not None
    assert "may not be deleted" in " ".join(run.iterations[0].verdict.feedback)
    assert run.statement is not None
    assert run.statement.candidate == image(2)


@pytest.mark.parametrize(
    ("stage", "result"),
    [
        (Stage.BUILD, BuildResult(version=None, tail="SyntaxError")),
        (Stage.CHECK, CheckResult(ok=False, passed=11, failed=1, tail="FAIL test_refund")),
    ],
)
def test_what_does_not_build_or_fails_its_own_check_is_never_tried_and_never_offered(
    stage: Stage, result: object
) -> None:
    play = Play(fixes=ALL, results={(stage, 1, 1): result})  # type: ignore[dict-item]
    run = play.all()
    assert "1/trial/1" not in stages(play)
    assert run.statement is not None
    assert run.statement.candidate == image(2)


# ------------------------------------------------------------------ outcomes


def test_not_reproduced_when_no_failure_shows_on_the_live_version() -> None:
    assert Play(reproduces=()).all().outcome is Outcome.NOT_REPRODUCED


def test_a_case_that_does_not_reproduce_leaves_the_batch_saying_so() -> None:
    run = Play(reproduces=CASES[:2], fixes=GOOD).all()
    assert run.baseline is not None
    assert run.baseline.not_reproduced == CASES[2:]
    assert run.statement is not None


def test_too_few_guards_offer_nothing() -> None:
    run = Play(guards_hold=GUARDS[:2], fixes=GOOD).all()
    assert run.outcome is Outcome.FAILED
    assert "guards" in run.because


def test_a_live_version_that_fails_its_own_check_is_mended_first() -> None:
    failing = BaselineResult(ran=0, check=CheckResult(ok=False, passed=3, failed=1))
    run = Play(results={(Stage.BASELINE, 0, 1): failing}).all()
    assert run.outcome is Outcome.FAILED
    assert "own check" in run.because


def test_no_improvement_after_a_plateau() -> None:
    play = Play()
    run = play.all()
    assert run.outcome is Outcome.NO_IMPROVEMENT
    assert len(run.iterations) == DIALS[Depth.STANDARD].plateau


def test_a_broken_guard_is_never_offered_however_often() -> None:
    play = Play(fixes=ALL, breaks=dict.fromkeys(range(1, 9), GUARDS[:1]))
    run = play.all()
    assert run.statement is None
    assert run.outcome is Outcome.NO_IMPROVEMENT


def test_three_iterations_worse_partial_fixed_and_the_third_starts_from_the_second() -> None:
    play = Play(fixes={2: CASES[:2], 3: CASES}, breaks={1: GUARDS})
    run = play.all()
    assert run.statement is not None
    assert run.statement.candidate == image(3)
    assert run.iterations[1].start == started().base.commit
    assert run.iterations[2].start == run.iterations[1].work


def test_the_better_second_iteration_is_offered_as_partial() -> None:
    play = Play(fixes={2: CASES[:2], 3: CASES[:1], 4: CASES[:1]})
    run = play.all()
    assert run.verdict is not None
    assert (run.verdict.partial, run.verdict.chosen) == (True, 2)
    assert run.statement is not None
    assert run.statement.candidate == image(2)


def test_deep_reaches_eight_iterations() -> None:
    grows = {1: (), 2: CASES[:1], 3: (), 4: (), 5: CASES[:2], 6: (), 7: (), 8: CASES}
    run = Play(fixes=grows).all(started(Depth.DEEP))
    assert [one.number for one in run.iterations] == list(range(1, 9))
    assert run.statement is not None
    assert run.statement.candidate == image(8)


@pytest.mark.parametrize("depth", list(Depth))
def test_the_plateau_of_each_depth(depth: Depth) -> None:
    run = Play().all(started(depth))
    assert len(run.iterations) == min(DIALS[depth].plateau, DIALS[depth].iterations)


def votes(*says: str, found: bool = True) -> tuple[JurorVote, ...]:
    return tuple(
        JurorVote.model_validate({"juror": f"j{n}", "says": word, "quote": "q", "quote_found": found})
        for n, word in enumerate(says)
    )


@pytest.mark.parametrize(
    ("word", "outcome"), [("limit_model", Outcome.LIMIT_MODEL), ("limit_architecture", Outcome.LIMIT_ARCHITECTURE)]
)
def test_two_jurors_with_quotes_end_a_run_with_their_limit(word: str, outcome: Outcome) -> None:
    assert Play(votes={1: votes(word, word)}).all().outcome is outcome


@pytest.mark.parametrize(
    "said", [votes("limit_model"), votes("limit_model", "fixable"), votes("limit_model", "limit_model", found=False)]
)
def test_a_single_or_unquoted_vote_does_not_end_a_run(said: tuple[JurorVote, ...]) -> None:
    assert Play(votes={1: said, 2: said}).all().outcome is Outcome.NO_IMPROVEMENT


def test_anyway_goes_on_against_the_votes() -> None:
    play = Play(votes={1: votes("limit_model", "limit_model")}, fixes={2: CASES})
    assert play.all(started(anyway=True)).statement is not None


def test_invalid_trials_are_run_again_and_never_count() -> None:
    lost: set[str] = set()

    def once(made: Trial) -> Trial:
        if made.version != BASE and made.case not in lost:
            lost.add(made.case)
            return trial(made.case, made.version, made.repeat, True, valid=False)
        return made

    play = Play(fixes=GOOD, wave=once)
    run = play.all()
    assert "1/trial/2" in stages(play)
    assert run.statement is not None
    assert sum(not one.valid for one in run.trials) == 6


def test_expired_when_nobody_says_yes_in_time() -> None:
    play = Play(fixes=GOOD)
    run = play.all()
    play.now += timedelta(hours=25)
    assert play.on(run).outcome is Outcome.EXPIRED


@pytest.mark.parametrize(
    ("look", "outcome"),
    [
        (PreflightResult(ok=True, live=Digest("sha256:other")), Outcome.STALE),
        (PreflightResult(ok=False, live=BASE, because="exited 1"), Outcome.UNFIT),
        (PreflightResult(ok=False, live=BASE, refusal="alice's key is revoked"), Outcome.EXPIRED),
    ],
)
def test_the_last_look_before_the_swap(look: PreflightResult, outcome: Outcome) -> None:
    play = Play(fixes=GOOD, results={(Stage.PREFLIGHT, 1, 1): look})
    run = committed(play)
    assert run.outcome is outcome
    assert run.swap is None


@pytest.mark.parametrize(
    ("phases", "outcome"),
    [
        ({Phase.PROBE: PhaseResult(ok=False, because="exited 1")}, Outcome.ROLLED_BACK),
        ({Phase.WATCH: PhaseResult(ok=False, because="exited 1")}, Outcome.ROLLED_BACK),
        ({Phase.HOLD: PhaseResult(ok=False, because="did not drain")}, Outcome.FAILED),
        ({Phase.STOP: PhaseResult(ok=False, because="other", stale=True)}, Outcome.STALE),
        (
            {phase: PhaseResult(ok=False, because="x") for phase in (Phase.PROBE, Phase.R_PROBE, Phase.RS_PROBE)},
            Outcome.FAILED,
        ),
    ],
)
def test_what_a_swap_ends_with(phases: dict[Phase, PhaseResult], outcome: Outcome) -> None:
    run = committed(Play(fixes=GOOD, phases=phases))
    assert run.outcome is outcome
    assert run.because in {result.because for result in phases.values()}


def test_an_error_in_the_middle_of_a_swap_takes_it_back_instead_of_ending_the_run() -> None:
    broken = StepFailed(error="KeyError", sentence="a defect", then="fail_run", retries=0)
    run = committed(Play(fixes=GOOD, results={(Stage.SWAP, 1, 6): broken}))
    assert (run.outcome, run.because) == (Outcome.ROLLED_BACK, "a defect")


def test_a_soak_that_finds_it_worse_takes_it_back() -> None:
    play = Play(fixes=GOOD, results={(Stage.SOAK, 1, 1): SoakLook(over=False, bad="came back", turns=9, recurred=9)})
    run = play.on(play.consent(play.all(started(soak_hours=2))))
    assert (run.outcome, run.because) == (Outcome.ROLLED_BACK, "came back")
    assert "1/swap/101" in stages(play)


def test_a_soak_waits_between_its_looks_and_ends_committed() -> None:
    play = Play(fixes=GOOD)
    run = play.on(play.consent(play.all(started(soak_hours=2))))
    assert run.next is not None
    assert (run.outcome, run.next.stage) == (None, Stage.SOAK)
    play.now += timedelta(hours=3)
    assert play.on(run).outcome is Outcome.COMMITTED


def test_a_clock_that_went_back_looks_again_instead_of_waiting_an_hour() -> None:
    play = Play(fixes=GOOD)
    run = play.on(play.consent(play.all(started(soak_hours=2))))
    assert isinstance(decide(run, play.now - timedelta(hours=1)), Do)


def undo(run: Run) -> UndoAsked:
    swap = Swap(key=Key("undo"), old=image(1), new=BASE, undo=True)
    return UndoAsked(by="bob", because="odd", swap=swap, next=Step(stage=Stage.SWAP, iteration=1, epoch=1))


@pytest.mark.parametrize(
    ("phases", "outcome"), [({}, Outcome.REVERTED), ({Phase.PROBE: PhaseResult(ok=False)}, Outcome.COMMITTED)]
)
def test_an_undo_reverts_or_leaves_it_committed(phases: dict[Phase, PhaseResult], outcome: Outcome) -> None:
    play = Play(fixes=GOOD)
    run = committed(play)
    play.phases = phases
    assert play.on(play.record(run, undo(run))).outcome is outcome


# ------------------------------------------------------------------ stop, resume, rewind, budget, errors


def test_a_stop_takes_effect_at_the_next_safe_point_and_resumes_where_it_was() -> None:
    play = Play(fixes=GOOD)
    run = play.begin(started())
    run = play.step(run, decide(run, play.now))  # type: ignore[arg-type]
    run = play.on(play.record(run, StopAsked(by="bob")))
    assert (run.outcome, run.because) == (Outcome.STOPPED, "stopped by bob")
    assert run.last is not None
    again = run.last.model_copy(update={"epoch": 1})
    run = play.on(play.record(run, Moved(what="resumed", by="bob", next=again)))
    assert run.statement is not None
    assert stages(play).count("0/baseline/1") == 1


def test_a_stop_in_the_middle_of_a_swap_waits_for_its_end() -> None:
    play = Play(fixes=GOOD)
    run = play.consent(play.all())
    for _ in range(3):
        run = play.step(run, decide(run, play.now))  # type: ignore[arg-type]
    run = play.on(play.record(run, StopAsked(by="bob")))
    assert run.outcome is Outcome.COMMITTED


def test_a_rewind_forgets_what_came_after_and_keeps_what_was_spent() -> None:
    play = Play(fixes={2: CASES})
    run = play.all()
    spent = run.spent
    run = play.record(run, Moved(what="rewound", by="bob", next=Step(stage=Stage.PLAN, iteration=2, epoch=1)))
    assert (run.statement, run.iterations[1].plan, run.iterations[1].located is not None) == (None, None, True)
    assert run.spent == spent
    run = play.on(run)
    assert run.statement is not None
    assert run.spent.money_usd > spent.money_usd
    assert "2/plan/1" in stages(play)[-12:]


def test_a_budget_that_does_not_cover_the_next_reservation_ends_the_run_before_it() -> None:
    run = Play().all(started(budget=Budget(money_usd=0.4)))
    assert run.outcome is Outcome.OUT_OF_BUDGET
    assert run.spent.money_usd == 0.25


def test_reservations_never_exceed_the_budget_and_end_with_the_run() -> None:
    play = Play()
    run = play.all(started(budget=Budget(money_usd=1.1)))
    folded = begin(*play.events[0])
    for event, at in play.events[1:]:
        folded = apply(folded, event, at)
        assert folded.held_back.money_usd <= 1.1
    assert run.reserved == {}


def failed(then: str, retries: int = 0) -> StepFailed:
    return StepFailed(error="CoderHung", sentence="said nothing", then=then, retries=retries)


@pytest.mark.parametrize(
    ("then", "outcome"),
    [
        ("fail_run", Outcome.FAILED),
        ("ask_operator", Outcome.FAILED),
        ("invalid", Outcome.FAILED),
        ("out_of_budget", Outcome.OUT_OF_BUDGET),
        ("stale", Outcome.STALE),
        ("feedback", None),
    ],
)
def test_what_an_error_means_is_read_from_its_policy(then: str, outcome: Outcome | None) -> None:
    run = Play(fixes=ALL, results={(Stage.IMPLEMENT, 1, 1): failed(then)}).all()
    assert run.outcome is outcome
    assert (run.statement is not None) == (outcome is None)


def test_a_retry_has_a_key_of_its_own() -> None:
    play = Play(fixes=GOOD)
    run = play.begin(started())
    play.results[(Stage.LOCATE, 1, 1)] = failed("fail_run", retries=1)
    run = play.step(run, decide(run, play.now))  # type: ignore[arg-type]
    run = play.step(run, decide(run, play.now))  # type: ignore[arg-type]
    do = decide(run, play.now)
    assert isinstance(do, Do)
    assert do.key == "ev-01/1/locate/1.2"
    del play.results[(Stage.LOCATE, 1, 1)]
    assert play.on(run).statement is not None


# ------------------------------------------------------------------ the journal is the state


STORIES = {
    "good": Play(fixes=GOOD),
    "three iterations": Play(fixes={2: CASES[:2], 3: CASES}, breaks={1: GUARDS}),
    "rolled back": Play(fixes=GOOD, phases={Phase.WATCH: PhaseResult(ok=False, because="exited 1")}),
    "restored from the snapshot": Play(
        fixes=GOOD, phases={p: PhaseResult(ok=False) for p in (Phase.PROBE, Phase.R_PROBE)}
    ),
    "nothing": Play(),
}


@pytest.mark.parametrize("name", STORIES)
def test_folding_any_prefix_and_going_on_ends_the_same(name: str) -> None:
    play = STORIES[name]
    run = play.all()
    whole = play.on(play.consent(run)) if run.statement else run
    events = list(play.events)
    for cut in range(1, len(events)):
        folded = begin(*events[0])
        for event, at in events[1:cut]:
            folded = apply(folded, read_event(event.model_dump(mode="json")), at)
        play.now = events[cut - 1][1]
        again = play.on(folded)
        if again.outcome is None:
            again = play.on(play.consent(again))
        assert (again.outcome, again.because) == (whole.outcome, whole.because)
        assert [one.work for one in again.iterations] == [one.work for one in whole.iterations]


@settings(max_examples=60, deadline=None)
@given(
    fixes=st.dictionaries(st.integers(1, 8), st.sets(st.sampled_from(CASES)).map(tuple), max_size=8),
    breaks=st.dictionaries(st.integers(1, 8), st.sets(st.sampled_from(GUARDS), min_size=1).map(tuple), max_size=4),
    depth=st.sampled_from(list(Depth)),
)
def test_only_a_candidate_that_breaks_no_guard_and_fixes_a_case_is_ever_offered(
    fixes: dict[int, tuple[str, ...]], breaks: dict[int, tuple[str, ...]], depth: Depth
) -> None:
    play = Play(fixes=fixes, breaks=breaks)  # type: ignore[arg-type]
    run = play.all(started(depth))
    if run.statement is None:
        assert run.outcome is Outcome.NO_IMPROVEMENT
        return
    assert run.verdict is not None
    assert run.verdict.chosen is not None
    assert run.verdict.chosen not in breaks
    assert fixes.get(run.verdict.chosen)


def test_a_rejection_ends_the_run() -> None:
    play = Play(fixes=GOOD)
    run = play.record(play.all(), Ended(outcome=Outcome.REJECTED, because="bob: no"))
    assert decide(run, play.now) is None
    assert run.spent != Spend()


def test_wall_time_is_a_budget_too() -> None:
    play = Play(fixes={2: CASES}, takes=10.0)
    run = play.all(started(budget=Budget(seconds=45.0)))
    assert (run.outcome, run.because) == (Outcome.OUT_OF_BUDGET, "seconds: 50 of 45 are spent")
    assert Play(fixes=GOOD, takes=10.0).all(started(budget=Budget(seconds=1000.0))).statement is not None
