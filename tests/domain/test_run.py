"""The fold: what each event makes of a run, and what a rewind forgets."""

from datetime import timedelta

import pytest
from play import BASE, CASES, T0, Play, image, started, trial

from moss.domain.budget import Budget, Spend
from moss.domain.depth import Depth
from moss.domain.events import (
    BaselineResult,
    BuildResult,
    CheckResult,
    Ended,
    ImplementResult,
    Moved,
    Outcome,
    Reserved,
    SoakLook,
    Stage,
    Step,
    StepDone,
    StepFailed,
    StopAsked,
    TrialEnded,
    TrialsResult,
    VerdictAsked,
    read_event,
)
from moss.domain.ids import CommitId, Key
from moss.domain.machine import Do, Done, decide, settle
from moss.domain.notice import NoticeKind
from moss.domain.record import iteration_proof, proof_of
from moss.domain.results import CodeReview
from moss.domain.run import Iteration, Run, apply, begin

BASELINE = Step(stage=Stage.BASELINE)


def run_of(**change: object) -> Run:
    return begin(started(**change), T0)  # type: ignore[arg-type]


def after(run: Run, *events: object) -> Run:
    for event in events:
        run = apply(run, event, T0 + timedelta(seconds=run.seq))  # type: ignore[arg-type]
    return run


# ------------------------------------------------------------------ money


def test_a_trial_is_paid_when_it_ends_and_its_part_of_the_reservation_goes() -> None:
    key = BASELINE.key(started().run)
    one = trial(CASES[0], BASE, 1, False).model_copy(update={"money_usd": 0.5, "tokens": 7})
    run = after(
        run_of(), Reserved(key=key, amount=Spend(trials=4, money_usd=1.0)), TrialEnded(step=BASELINE, trial=one)
    )
    assert run.spent == Spend(trials=1, money_usd=0.5, tokens=7)
    assert run.reserved == {key: Spend(trials=3, money_usd=1.0)}
    assert run.held_back.trials == 4


def test_a_trial_that_nobody_reserved_is_paid_all_the_same_and_no_reservation_goes_below_nothing() -> None:
    key = BASELINE.key(started().run)
    ends = [TrialEnded(step=BASELINE, trial=trial(CASES[0], BASE, number, False)) for number in (1, 2, 3)]
    assert after(run_of(), *ends).spent.trials == 3
    assert after(run_of(), Reserved(key=key, amount=Spend(trials=1)), *ends).reserved[key] == Spend()


def test_a_wave_that_was_killed_pays_the_same_as_one_that_was_not() -> None:
    """The events of a wave, cut anywhere and begun again, add up to the same."""
    step, key = BASELINE, BASELINE.key(started().run)
    ends = [TrialEnded(step=step, trial=trial(CASES[0], BASE, number, False)) for number in range(1, 5)]
    done = StepDone(step=step, key=key, result=BaselineResult(ran=4), next=Step(stage=Stage.LOCATE, iteration=1))
    whole = after(run_of(), Reserved(key=key, amount=Spend(trials=4)), *ends, done)
    for cut in range(5):
        again = after(
            run_of(), Reserved(key=key, amount=Spend(trials=4)), *ends[:cut],
            Reserved(key=key, amount=Spend(trials=4 - cut)), *ends[cut:], done,
        )  # fmt: skip
        assert (again.spent, again.reserved, again.trials) == (whole.spent, whole.reserved, whole.trials)


def test_a_run_starts_once() -> None:
    with pytest.raises(ValueError, match="once"):
        after(run_of(), started())


def test_the_end_of_a_run_lets_every_reservation_go() -> None:
    held = after(run_of(), Reserved(key=Key("a"), amount=Spend(money_usd=1.0)))
    ended = after(held, Ended(outcome=Outcome.STOPPED, because="stopped by alice"))
    assert ended.reserved == {}
    assert ended.last == BASELINE
    assert ended.next is None
    assert decide(ended, T0) is None


# ------------------------------------------------------------------ moves


def test_a_resumed_run_may_have_another_budget_and_go_on_against_the_votes() -> None:
    ended = after(run_of(), Ended(outcome=Outcome.STOPPED, because="x"))
    again = after(ended, Moved(what="resumed", by="a", budget=Budget(trials=9), anyway=True, next=BASELINE))
    assert (again.budget.trials, again.anyway, again.outcome, again.because) == (9, True, None, "")


def test_an_empty_move_keeps_budget_and_votes() -> None:
    ended = after(run_of(), Ended(outcome=Outcome.STOPPED, because="x"))
    again = after(ended, Moved(what="resumed", by="a", next=BASELINE))
    assert again.budget == ended.budget
    assert again.anyway is False


def played(depth: Depth = Depth.STANDARD) -> Run:
    """Two iterations, the second good; it waits for consent."""
    return Play(fixes={2: CASES}).all(started(depth))


@pytest.mark.parametrize(
    ("to", "kept", "gone"),
    [
        (Stage.LOCATE, (), ("located", "plan", "plan_review", "work", "code_review", "build", "check", "verdict")),
        (Stage.PLAN, ("located",), ("plan", "plan_review", "work", "build", "check")),
        (Stage.IMPLEMENT, ("located", "plan", "plan_review"), ("work", "diff", "code_review", "build", "check")),
        (Stage.BUILD, ("work", "code_review"), ("build", "check", "verdict")),
        (Stage.CHECK, ("work", "build"), ("check", "verdict")),
        (Stage.TRIAL, ("build", "check"), ("verdict",)),
        (Stage.EVALUATE, ("build", "check"), ("verdict",)),
    ],
)
def test_a_rewind_forgets_what_came_after_its_stage(to: Stage, kept: tuple[str, ...], gone: tuple[str, ...]) -> None:
    run = played()
    back = after(run, Moved(what="rewound", by="a", next=Step(stage=to, iteration=2, epoch=1)))
    fresh = back.iterations[1]
    assert all(getattr(fresh, name) == getattr(run.iterations[1], name) for name in kept)
    assert all(getattr(fresh, name) in (None, ()) for name in gone)
    assert (back.statement, back.swap, back.verdict, back.consents) == (None, None, None, ())
    assert back.iterations[0] == run.iterations[0]
    assert back.spent == run.spent


def test_the_size_of_a_change_goes_with_the_change() -> None:
    run = played()
    assert run.iterations[1].added > 0
    for to, left in ((Stage.CODE_REVIEW, True), (Stage.IMPLEMENT, False), (Stage.PLAN, False)):
        back = after(run, Moved(what="rewound", by="a", next=Step(stage=to, iteration=2, epoch=1))).iterations[1]
        assert (back.files > 0, back.added > 0, back.removed > 0) == (left, left, left), to


def test_trials_of_what_is_made_anew_are_forgotten_and_those_of_before_are_kept() -> None:
    run = played()
    second = {one.key for one in run.trials if one.version == image(2)}
    for to, forgets in ((Stage.TRIAL, True), (Stage.BUILD, True), (Stage.EVALUATE, False), (Stage.LOCATE, True)):
        back = after(run, Moved(what="rewound", by="a", next=Step(stage=to, iteration=2, epoch=1)))
        left = {one.key for one in back.trials}
        assert bool(second & left) is not forgets, to
        assert {one.key for one in run.trials} - second <= left


def test_a_rewind_to_an_earlier_iteration_drops_the_later_ones() -> None:
    back = after(played(), Moved(what="rewound", by="a", next=Step(stage=Stage.PLAN, iteration=1, epoch=1)))
    assert [one.number for one in back.iterations] == [1]


def test_a_rewind_to_the_baseline_forgets_everything_but_what_was_spent() -> None:
    run = played()
    back = after(run, Moved(what="rewound", by="a", next=Step(stage=Stage.BASELINE, epoch=1)))
    assert (back.iterations, back.trials, back.baseline) == ((), (), None)
    assert back.spent == run.spent


def test_a_rewind_to_an_iteration_that_is_not_there_keeps_those_before() -> None:
    back = after(played(), Moved(what="rewound", by="a", next=Step(stage=Stage.LOCATE, iteration=7, epoch=1)))
    assert [one.number for one in back.iterations] == [1, 2]


def test_a_rewind_to_a_check_keeps_the_image_and_forgets_an_iteration_without_one() -> None:
    run = run_of()
    bare = run.model_copy(update={"iterations": (Iteration(number=1, start=CommitId("0" * 40)),)})
    back = after(bare, Moved(what="rewound", by="a", next=Step(stage=Stage.CHECK, iteration=1, epoch=1)))
    assert back.iterations[0].build is None


# ------------------------------------------------------------------ roads of the machine


def settled(run: Run, step: Step, result: object) -> StepDone:
    return settle(run, Do(step, step.key(run.id)), Done(result), T0)  # type: ignore[arg-type]


def test_a_failed_look_of_the_soak_is_looked_at_again() -> None:
    failed = StepFailed(error="TargetDown", sentence="no answer", then="ask_operator", retries=0)
    event = settled(run_of(), Step(stage=Stage.SOAK, iteration=1), failed)
    assert event.next == Step(stage=Stage.SOAK, iteration=1, round=2)
    assert event.says == "the look failed: no answer"


def test_a_baseline_that_wants_more_trials_goes_round_again_unless_the_budget_is_short() -> None:
    again = settled(run_of(), BASELINE, BaselineResult(ran=2))
    assert again.next == Step(stage=Stage.BASELINE, round=2)
    short = settled(run_of(), BASELINE, BaselineResult(ran=2, short="trials: 9 wanted, 2 of 4 left"))
    assert (short.outcome, short.says) == (Outcome.OUT_OF_BUDGET, "trials: 9 wanted, 2 of 4 left")


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (CheckResult(ok=True, ran=False), "no check is configured"),
        (CheckResult(ok=True), "its own check passes"),
        (CheckResult(ok=False), "its own check fails"),
        (CheckResult(ok=True, passed=12, failed=0), "12 of its own tests pass"),
        (CheckResult(ok=False, passed=11, failed=1), "11 of its own tests pass, 1 fail"),
        (CheckResult(ok=False, passed=11), "11 of its own tests pass, some fail"),
    ],
)
def test_a_check_says_what_it_knows(check: CheckResult, says: str) -> None:
    event = settled(run_of(), Step(stage=Stage.CHECK, iteration=1), check)
    assert event.says == says
    assert event.next is not None
    assert event.next.stage is (Stage.TRIAL if check.ok else Stage.VERDICT)


def test_trials_that_are_missing_at_the_verdict_are_run_first() -> None:
    run = played()
    bare = run.model_copy(update={"trials": tuple(one for one in run.trials if one.version == BASE)})
    event = settled(bare, Step(stage=Stage.VERDICT, iteration=2), VerdictAsked())
    assert event.next == Step(stage=Stage.TRIAL, iteration=2, round=2)
    assert event.verdict is None
    wave = settled(bare, Step(stage=Stage.TRIAL, iteration=2), TrialsResult(ran=0, short="no money"))
    assert wave.next == Step(stage=Stage.EVALUATE, iteration=2)
    assert wave.says == "0 trials; short: no money"


def test_a_plain_soak_look_counts_from_the_first() -> None:
    run = run_of()
    step = Step(stage=Stage.SOAK, iteration=1)

    def look(seen: int, number: int) -> StepDone:
        here = step.model_copy(update={"round": number})
        return StepDone(step=here, key=here.key(run.id), result=SoakLook(over=False, seen=seen), next=step)

    later = after(run, look(100, 1), look(160, 2))
    assert (later.soak_from, later.soak.seen) == (100, 160)  # type: ignore[union-attr]


# ------------------------------------------------------------------ how it looks to the verdict


def test_an_iteration_that_came_to_nothing_says_why() -> None:
    run, start = run_of(), CommitId("0" * 40)
    bare = iteration_proof(run, Iteration(number=1, start=start))
    assert (bare.policy_ok, bare.refusals) == (False, ("no candidate was made",))
    broken = Iteration(number=1, start=start, build=BuildResult(version=None, tail="x" * 9000))
    proof = iteration_proof(run, broken)
    assert (proof.policy_ok, proof.build_ok) == (True, False)
    assert proof.refusals[0].startswith("it does not build: xxx")
    assert len(proof.refusals[0]) < 2100
    assert proof_of(run).votes == ()
    turned_down = Iteration(number=1, start=start, code_review=CodeReview(accepted=False, reason="swallows the error"))
    assert iteration_proof(run, turned_down).refusals == ("the code was rejected: swallows the error",)


def test_work_that_the_policy_refused_keeps_the_accepted_work_before_it() -> None:
    run = Play(fixes={1: CASES}).all()
    kept = run.iterations[0].work
    step = Step(stage=Stage.IMPLEMENT, iteration=1, round=2)
    refused = ImplementResult(commit=None, breaches=("no",))
    later = after(run, StepDone(step=step, key=step.key(run.id), result=refused, next=step))
    assert later.iterations[0].work == kept
    assert later.iterations[0].breaches == ("no",)


# ------------------------------------------------------------------ words


def test_every_event_is_read_back_as_it_was_written() -> None:
    play = Play(fixes={1: CASES})
    play.on(play.consent(play.all()))
    for event, _ in play.events:
        assert read_event(event.model_dump(mode="json")) == event


@pytest.mark.parametrize(
    "body", [{"kind": "proofread"}, {"kind": "stop_asked", "by": "a", "reason": "new field"}, {}, {"kind": "started"}]
)
def test_an_event_of_a_newer_moss_is_not_guessed_at(body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        read_event(body)


def test_a_step_of_an_unknown_stage_is_not_guessed_at() -> None:
    body = StopAsked(by="a").model_dump(mode="json") | {"kind": "moved", "what": "resumed", "next": {"stage": "lint"}}
    with pytest.raises(ValueError, match="lint"):
        read_event(body)


def test_keys_tell_retries_and_rewinds_apart() -> None:
    step = Step(stage=Stage.PLAN, iteration=1, round=2)
    keys = {
        str(step.key(started().run)),
        str(step.model_copy(update={"attempt": 2}).key(started().run)),
        str(step.model_copy(update={"epoch": 1}).key(started().run)),
    }
    assert keys == {"ev-01/1/plan/2", "ev-01/1/plan/2.2", "ev-01+1/1/plan/2"}


def test_notices_are_told_by_plain_words() -> None:
    assert {str(kind) for kind in NoticeKind} >= {"consent_wanted", "operator_needed", "rolled_back"}
