"""Owns the run machine: what to do next, and what follows from what was done (design 3). The only place that decides.

`decide` gives the next thing to do; `settle` turns its result into the event to record, the next step included;
`run.apply` folds it. All three are pure. Invariant: folding the events of any prefix and going on gives the same run
as never having stopped.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from moss.domain import verdict
from moss.domain.budget import Spend
from moss.domain.consent import Statement
from moss.domain.events import (
    BaselineResult,
    BuildResult,
    CheckResult,
    CodeReviewResult,
    Ended,
    EvaluateResult,
    ImplementResult,
    LocateResult,
    Outcome,
    PlanResult,
    PlanReviewResult,
    PreflightResult,
    Result,
    SoakLook,
    Stage,
    Step,
    StepDone,
    StepFailed,
    SwapResult,
    TrialsResult,
    VerdictAsked,
)
from moss.domain.ids import Digest, Key
from moss.domain.record import dial, proof_of
from moss.domain.run import Run
from moss.domain.swap import WORDS, Phase, PhaseResult, Swap, SwapEnd, Turned, next_phase
from moss.domain.verdict import Next, Verdict
from moss.errors import Then

SOAK_EVERY = timedelta(seconds=30)
"""how often the soak looks at health and evidence"""


@dataclass(frozen=True, slots=True)
class Do:
    """One thing to perform, under its idempotency key. `reserve` is put aside before it begins."""

    step: Step
    key: Key
    reserve: Spend = field(default_factory=Spend)


@dataclass(frozen=True, slots=True)
class Done:
    """What performing gave: the result, what it cost, how long it took (monotonic seconds)."""

    result: Result
    spent: Spend = field(default_factory=Spend)
    seconds: float = 0.0
    prompt: Digest | None = None
    transcript: Digest | None = None


def decide(run: Run, now: datetime) -> Do | Ended | None:
    """The one next thing. `None`: wait, for a person or for time. `Ended`: an event to record, nothing to perform."""
    step = run.next
    if run.outcome is not None or step is None:
        return None
    if run.stop is not None and at_safe_point(run):
        return Ended(outcome=Outcome.STOPPED, because=f"stopped by {run.stop}")
    if step.stage is Stage.CONSENT:
        over = now >= run.statement.expires if run.statement else False
        return Ended(outcome=Outcome.EXPIRED, because="nobody said yes in time") if over else None
    if step.stage is Stage.SOAK and not soak_due(run, now):
        return None
    if (limit := run.budget.seconds) is not None and run.spent.seconds >= limit and at_safe_point(run):
        return Ended(outcome=Outcome.OUT_OF_BUDGET, because=f"seconds: {run.spent.seconds:.0f} of {limit:g} are spent")
    key = step.key(run.id)
    reserve = Spend() if key in run.reserved else run.started.reserve.get(step.stage, Spend())
    if lack := run.budget.lacks(run.held_back, reserve):
        return Ended(outcome=Outcome.OUT_OF_BUDGET, because=lack)
    return Do(step=step, key=key, reserve=reserve)


def at_safe_point(run: Run) -> bool:
    """False while a swap is open: then users wait, and the swap is finished or taken back first."""
    if run.next is not None and run.next.stage is Stage.SOAK:
        return False
    return run.swap is None or not run.swap.critical


def soak_due(run: Run, now: datetime) -> bool:
    """At its first moment, then every `SOAK_EVERY`, and at its end."""
    if run.switched_at is None or run.soak is None:
        return True
    return now >= run.updated + SOAK_EVERY or now >= soak_end(run) or now < run.updated


def soak_end(run: Run) -> datetime:
    return (run.switched_at or run.updated) + timedelta(hours=run.started.soak_hours)


# ------------------------------------------------------------------ settle


@dataclass(frozen=True, slots=True)
class _Turn:
    """Where `settle` goes: a next step or an outcome, and the sentence for the journal."""

    next: Step | None = None
    outcome: Outcome | None = None
    says: str = ""
    baseline: verdict.Baseline | None = None
    verdict: Verdict | None = None
    statement: Statement | None = None
    swap: Swap | None = None
    turned: Turned | None = None


def settle(run: Run, do: Do, done: Done, now: datetime) -> StepDone:
    """The event to record for what was done, with the chosen next step (or the outcome) in it."""
    result = _phase_of(done.result) if do.step.stage is Stage.SWAP else done.result
    turn = _turn(run, do.step, result, now)
    return StepDone(
        step=do.step,
        key=do.key,
        result=result,
        spent=done.spent,
        seconds=round(done.seconds, 3),
        prompt=done.prompt,
        transcript=done.transcript,
        baseline=turn.baseline,
        verdict=turn.verdict,
        statement=turn.statement,
        swap=turn.swap,
        turned=turn.turned,
        next=turn.next,
        outcome=turn.outcome,
        says=turn.says[:1000],
    )


def _phase_of(result: Result) -> Result:
    """An open swap never just ends: what failed counts as its phase's failure, and the swap goes back."""
    if isinstance(result, StepFailed):
        return SwapResult(phase=PhaseResult(ok=False, because=result.sentence))
    return result


def _turn(run: Run, step: Step, result: Result, now: datetime) -> _Turn:
    match result:
        case StepFailed():
            return _failed(step, result)
        case BaselineResult():
            return _after_baseline(run, step, result)
        case LocateResult():
            best = min(result.located.suspects, key=lambda suspect: suspect.rank)
            return _Turn(_on(step, Stage.PLAN), says=f"{best.path}:{best.line} {best.symbol}: {best.why}")
        case PlanResult():
            return _Turn(_same(step, Stage.PLAN_REVIEW), says=result.plan.summary)
        case PlanReviewResult():
            return _after_plan_review(run, step, result)
        case ImplementResult():
            return _after_implement(run, step, result)
        case CodeReviewResult():
            return _after_code_review(run, step, result)
        case BuildResult():
            return _after_build(step, result)
        case CheckResult():
            ok = result.ok
            return _Turn(_on(step, Stage.TRIAL if ok else Stage.VERDICT), says=_check_says(result))
        case TrialsResult():
            return _after_trials(run, step, result)
        case EvaluateResult():
            return _Turn(_on(step, Stage.VERDICT), says=f"{len(result.votes)} juror votes")
        case VerdictAsked():
            return _after_verdict(run, step, now)
        case PreflightResult():
            return _after_preflight(run, step, result)
        case SwapResult():
            return _after_swap(run, step, result)
        case SoakLook():
            return _after_soak(run, step, result)
        case _ as never:
            assert_never(never)


def _on(step: Step, stage: Stage, *, round: int = 1, iteration: int | None = None) -> Step:
    """The first round of another stage."""
    number = step.iteration if iteration is None else iteration
    return Step(stage=stage, iteration=number, round=round, epoch=step.epoch)


def _same(step: Step, stage: Stage) -> Step:
    """Another stage in the same round."""
    return _on(step, stage, round=step.round)


def _failed(step: Step, failed: StepFailed) -> _Turn:
    if step.stage is Stage.SOAK:
        return _Turn(_on(step, Stage.SOAK, round=step.round + 1), says=f"the look failed: {failed.sentence}")
    if step.attempt <= failed.retries:
        again = step.model_copy(update={"attempt": step.attempt + 1})
        return _Turn(again, says=f"{failed.error}: {failed.sentence}; tried again")
    says = f"{failed.error}: {failed.sentence}"
    match Then(failed.then):
        case Then.FEEDBACK:
            return _Turn(_on(step, Stage.VERDICT), says=says)
        case Then.OUT_OF_BUDGET:
            return _Turn(outcome=Outcome.OUT_OF_BUDGET, says=says)
        case Then.STALE:
            return _Turn(outcome=Outcome.STALE, says=says)
        case Then.INVALID | Then.FAIL_RUN | Then.ASK_OPERATOR | Then.DROP_CLAIM:
            return _Turn(outcome=Outcome.FAILED, says=says)
        case _ as never:
            assert_never(never)


def _after_baseline(run: Run, step: Step, result: BaselineResult) -> _Turn:
    if result.check is not None and result.check.ran and not result.check.ok:
        says = f"the live version fails its own check ({_check_says(result.check)}): mend that first"
        return _Turn(outcome=Outcome.FAILED, says=says)
    baseline = verdict.baseline(proof_of(run))
    match baseline.next:
        case Next.TRIALS if result.short:
            return _Turn(outcome=Outcome.OUT_OF_BUDGET, says=result.short)
        case Next.TRIALS:
            return _Turn(_on(step, Stage.BASELINE, round=step.round + 1), says=baseline.reason)
        case Next.ITERATE:
            return _Turn(_on(step, Stage.LOCATE, iteration=1), says=baseline.reason, baseline=baseline)
        case ends:
            return _Turn(outcome=Outcome(ends.value), says=baseline.reason, baseline=baseline)


def _after_plan_review(run: Run, step: Step, result: PlanReviewResult) -> _Turn:
    review = result.review
    if review.accepted:
        return _Turn(_on(step, Stage.IMPLEMENT), says=f"accepted in round {step.round}")
    says = f"rejected ({review.fault or 'other'}): {review.reason}"
    if step.round < dial(run).plan_rounds:
        return _Turn(_on(step, Stage.PLAN, round=step.round + 1), says=says)
    return _Turn(_on(step, Stage.VERDICT), says=says)


def _after_implement(run: Run, step: Step, result: ImplementResult) -> _Turn:
    if result.commit is not None:
        says = f"{result.files} file{'' if result.files == 1 else 's'}, +{result.added} -{result.removed}"
        return _Turn(_same(step, Stage.CODE_REVIEW), says=says)
    says = "refused by the policy: " + "; ".join(result.breaches)
    return _Turn(_next_code_round(run, step), says=says)


def _after_code_review(run: Run, step: Step, result: CodeReviewResult) -> _Turn:
    if result.review.accepted:
        return _Turn(_on(step, Stage.BUILD), says=f"accepted in round {step.round}")
    return _Turn(_next_code_round(run, step), says=f"rejected: {result.review.reason}")


def _next_code_round(run: Run, step: Step) -> Step:
    if step.round < dial(run).code_rounds:
        return _on(step, Stage.IMPLEMENT, round=step.round + 1)
    return _on(step, Stage.VERDICT)


def _after_build(step: Step, result: BuildResult) -> _Turn:
    if result.version is None:
        return _Turn(_on(step, Stage.VERDICT), says="the build failed: " + result.tail[-300:])
    return _Turn(_on(step, Stage.CHECK), says=result.version.name)


def _check_says(check: CheckResult) -> str:
    if not check.ran:
        return "no check is configured"
    if check.passed is None:
        return "its own check passes" if check.ok else "its own check fails"
    return f"{check.passed} of its own tests pass" + ("" if check.ok else f", {check.failed or 'some'} fail")


# ------------------------------------------------------------------ verdict and consent


def _after_trials(run: Run, step: Step, result: TrialsResult) -> _Turn:
    says = f"{result.ran} trials" + (f"; short: {result.short}" if result.short else "")
    if result.short is None and verdict.judge(proof_of(run)).next is Next.TRIALS:
        return _Turn(_on(step, Stage.TRIAL, round=step.round + 1), says=says)
    return _Turn(_on(step, Stage.EVALUATE), says=says)


def _after_verdict(run: Run, step: Step, now: datetime) -> _Turn:
    said = verdict.judge(proof_of(run))
    match said.next:
        case Next.CONSENT:
            return _offer(run, step, said, now)
        case Next.TRIALS:
            return _Turn(_on(step, Stage.TRIAL, round=step.round + 1), says=said.reason)
        case Next.ITERATE:
            nxt = _on(step, Stage.LOCATE, iteration=step.iteration + 1)
            return _Turn(nxt, says=said.reason, verdict=said)
        case ends:
            return _Turn(outcome=Outcome(ends.value), says=said.reason, verdict=said)


def _offer(run: Run, step: Step, said: Verdict, now: datetime) -> _Turn:
    chosen = next(one for one in run.iterations if one.number == said.chosen)
    assert chosen.build is not None
    assert chosen.build.version is not None
    assert chosen.diff is not None
    started, candidate = run.started, chosen.build.version
    statement = Statement(
        substrate=started.substrate,
        run=run.id,
        base=started.base.image,
        candidate=candidate.image,
        base_registry=started.base.registry,
        candidate_registry=candidate.registry,
        diff=chosen.diff,
        evidence=started.evidence,
        policy=started.policy,
        expires=now.replace(microsecond=0) + timedelta(hours=started.consent_hours),
    )
    stage = Stage.CONSENT if started.approvals > 0 else Stage.PREFLIGHT
    nxt = Step(stage=stage, iteration=chosen.number, epoch=step.epoch)
    return _Turn(nxt, says=said.reason, verdict=said, statement=statement)


# ------------------------------------------------------------------ preflight, swap, soak


def _after_preflight(run: Run, step: Step, result: PreflightResult) -> _Turn:
    assert run.statement is not None
    if result.live != run.started.base.image:
        return _Turn(outcome=Outcome.STALE, says="the live version is no longer the base of this run")
    if result.refusal is not None:
        return _Turn(outcome=Outcome.EXPIRED, says=result.refusal)
    if not result.ok:
        return _Turn(outcome=Outcome.UNFIT, says=result.because)
    swap = Swap(key=Key(f"{step.key(run.id)}/swap"), old=run.started.base.image, new=run.statement.candidate)
    says = (
        "skipped by the settings" if result.skipped else f"ready in {result.ready_seconds or 0:.1f} s, canary answered"
    )
    return _Turn(_on(step, Stage.SWAP), says=says, swap=swap)


def _after_swap(run: Run, step: Step, result: SwapResult) -> _Turn:
    swap = run.swap
    assert swap is not None
    turned = next_phase(swap, result.phase)
    because = result.phase.because or ("" if result.phase.ok else "failed")
    says = WORDS[swap.phase] + (f": {because}" if because else "")
    if turned.end is None:
        # Each phase is a round of the stage: so each has a key and an entry of its own.
        nxt = Step(stage=Stage.SWAP, iteration=step.iteration, round=step.round + 1, epoch=step.epoch)
        return _Turn(nxt, says=says, turned=turned)
    if turned.end is SwapEnd.SWITCHED and not swap.undo:
        return _Turn(_on(step, Stage.SOAK), says=says, turned=turned)
    outcome = _UNDO_ENDS[turned.end] if swap.undo else _SWAP_ENDS[turned.end]
    if outcome is Outcome.REVERTED:
        says = "the version before it serves again"
    return _Turn(outcome=outcome, says=swap.because or says, turned=turned)


_SWAP_ENDS = {
    SwapEnd.RESTORED: Outcome.ROLLED_BACK,
    SwapEnd.UNTOUCHED: Outcome.FAILED,
    SwapEnd.STALE: Outcome.STALE,
    SwapEnd.DOWN: Outcome.FAILED,
}
_UNDO_ENDS = {
    SwapEnd.SWITCHED: Outcome.REVERTED,
    SwapEnd.RESTORED: Outcome.COMMITTED,
    SwapEnd.UNTOUCHED: Outcome.COMMITTED,
    SwapEnd.STALE: Outcome.COMMITTED,
    SwapEnd.DOWN: Outcome.FAILED,
}
"""an undo that does not work out leaves what was live before it: still committed"""


def _after_soak(run: Run, step: Step, result: SoakLook) -> _Turn:
    assert run.swap is not None
    if result.bad is not None:
        back = run.swap.model_copy(update={"phase": Phase.R_HOLD, "end": None, "because": result.bad})
        # Far from the rounds of the swap itself, so that the way back has keys of its own.
        return _Turn(_on(step, Stage.SWAP, round=100 + step.round), says=f"taken back: {result.bad}", swap=back)
    if result.over:
        return _Turn(outcome=Outcome.COMMITTED, says=f"soak over: {result.turns} turns, {result.recurred} recurred")
    return _Turn(_on(step, Stage.SOAK, round=step.round + 1), says=f"{result.turns} turns, {result.recurred} recurred")
