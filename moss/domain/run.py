"""Owns an evolution as a value, and `apply`, the dumb fold of events into it.

Never decides anything (see `machine`): what an event says becomes so. Invariant: the same events give the same run.
"""

from datetime import datetime
from typing import Any, assert_never

from pydantic import Field

from moss.domain.budget import Budget, Spend
from moss.domain.consent import Consent, Statement
from moss.domain.events import (
    BuildResult,
    CheckResult,
    CodeReviewResult,
    Consented,
    Ended,
    EvaluateResult,
    Event,
    ImplementResult,
    JurorVote,
    LocateResult,
    Moved,
    Outcome,
    PlanResult,
    PlanReviewResult,
    Reserved,
    SoakLook,
    Stage,
    Started,
    Step,
    StepDone,
    StopAsked,
    SwapResult,
    TrialEnded,
    UndoAsked,
)
from moss.domain.frozen import Frozen
from moss.domain.ids import CommitId, Digest, Key, RunId
from moss.domain.results import CodeReview, Located, Plan, PlanReview
from moss.domain.swap import Swap, turn
from moss.domain.trial import Trial
from moss.domain.verdict import Baseline, Verdict


class Iteration(Frozen):
    """What one iteration has made so far. `start` is the commit it works from."""

    number: int
    start: CommitId
    located: Located | None = None
    plan: Plan | None = None
    plan_review: PlanReview | None = None
    work: CommitId | None = Field(None, description="the last accepted-by-policy commit of its rounds")
    diff: Digest | None = None
    files: int = 0
    added: int = 0
    removed: int = 0
    breaches: tuple[str, ...] = ()
    code_review: CodeReview | None = None
    build: BuildResult | None = None
    check: CheckResult | None = None
    votes: tuple[JurorVote, ...] = ()
    verdict: Verdict | None = None


class Run(Frozen):
    """An evolution, folded from its journal. `next` is the step to do, None when it ended."""

    started: Started
    began: datetime
    seq: int
    updated: datetime
    next: Step | None
    spent: Spend = Spend()
    reserved: dict[Key, Spend] = Field(default={})
    baseline: Baseline | None = None
    iterations: tuple[Iteration, ...] = ()
    trials: tuple[Trial, ...] = ()
    verdict: Verdict | None = None
    statement: Statement | None = None
    consents: tuple[Consent, ...] = ()
    used: tuple[Digest, ...] = Field((), description="consents that were ever taken, also before a rewind")
    swap: Swap | None = None
    switched_at: datetime | None = None
    soak: SoakLook | None = None
    soak_from: int | None = Field(None, description="turns that the evidence knew at the first look")
    stop: str | None = None
    budget: Budget = Budget()
    anyway: bool = False
    outcome: Outcome | None = None
    because: str = ""
    last: Step | None = Field(None, description="the step that was next when the run ended: where it resumes")

    @property
    def id(self) -> RunId:
        return self.started.run

    @property
    def iteration(self) -> Iteration | None:
        return self.iterations[-1] if self.iterations else None

    @property
    def held_back(self) -> Spend:
        """Spent and reserved together: what the budget is compared with."""
        total = self.spent
        for amount in self.reserved.values():
            total = total + amount
        return total


def begin(event: Started, at: datetime) -> Run:
    """The fold of the first event."""
    return Run(started=event, began=at, seq=1, updated=at, next=event.next, budget=event.budget, anyway=event.anyway)


def apply(run: Run, event: Event, at: datetime) -> Run:
    """The fold: what `event` says becomes so. It never decides and never refuses."""
    change: dict[str, Any] = {"seq": run.seq + 1, "updated": at}
    match event:
        case Reserved():
            change["reserved"] = {**run.reserved, event.key: event.amount}
        case TrialEnded():
            change |= _tried(run, event)
        case StepDone():
            change |= _done(run, event, at)
        case Consented():
            change |= {
                "consents": (*run.consents, event.consent),
                "used": (*run.used, event.consent.id),
                "next": event.next or run.next,
            }
        case StopAsked():
            change["stop"] = event.by
        case Moved():
            change |= _moved(run, event)
        case UndoAsked():
            change |= {
                "swap": event.swap,
                "next": event.next,
                "outcome": None,
                "because": event.because,
                "stop": None,
            }
        case Ended():
            change |= {
                "outcome": event.outcome,
                "because": event.because,
                "last": run.next,
                "next": None,
                "reserved": {},
            }
        case Started():
            raise ValueError("a run starts once")
        case _ as never:
            assert_never(never)
    return run.model_copy(update=change)


def _tried(run: Run, event: TrialEnded) -> dict[str, Any]:
    """A trial is paid when it ends, not with its wave: a wave that is done again after a kill pays for the rest."""
    trial, key = event.trial, event.step.key(run.id)
    change: dict[str, Any] = {
        "trials": (*run.trials, trial),
        "spent": run.spent + Spend(trials=1, money_usd=trial.money_usd, tokens=trial.tokens),
    }
    if (held := run.reserved.get(key)) is not None:
        left = held.model_copy(update={"trials": max(0, held.trials - 1)})
        change["reserved"] = {**run.reserved, key: left}
    return change


def _done(run: Run, event: StepDone, at: datetime) -> dict[str, Any]:
    change: dict[str, Any] = {
        "spent": run.spent + event.spent,
        "reserved": {key: amount for key, amount in run.reserved.items() if key != event.key},
        "next": event.next,
        "outcome": event.outcome,
    }
    if event.outcome:
        change |= {"because": event.says, "last": event.step, "reserved": {}}
    for name in ("baseline", "verdict", "statement", "swap"):
        if (value := getattr(event, name)) is not None:
            change[name] = value
    if event.next is not None and event.next.stage is Stage.CONSENT and event.step.stage is not Stage.CONSENT:
        change["consents"] = ()
    if isinstance(event.result, SoakLook):
        change["soak"] = event.result
        change["soak_from"] = event.result.seen if run.soak_from is None else run.soak_from
    if isinstance(event.result, SwapResult) and run.swap is not None and event.turned is not None:
        change["swap"] = turn(run.swap, at, event.result.phase, event.turned)
    if event.next is not None and event.next.stage is Stage.SOAK and event.step.stage is Stage.SWAP:
        change["switched_at"] = at
    change["iterations"] = _iterations(run, event)
    return change


def _iterations(run: Run, event: StepDone) -> tuple[Iteration, ...]:
    iterations = run.iterations
    if iterations and iterations[-1].number == event.step.iteration:
        iterations = (*iterations[:-1], iterations[-1].model_copy(update=_work(iterations[-1], event)))
    begins = event.next is not None and event.next.stage is Stage.LOCATE
    if begins and event.next is not None and event.next.iteration > len(iterations):
        iterations = (
            *iterations,
            Iteration(number=event.next.iteration, start=_start(run, iterations, event)),
        )
    return iterations


def _start(run: Run, iterations: tuple[Iteration, ...], event: StepDone) -> CommitId:
    """The commit of the iteration that the verdict named, the base where it named none."""
    number = event.verdict.start_from if event.verdict else None
    best = next((one.work for one in iterations if one.number == number), None)
    return best or run.started.base.commit


def _work(iteration: Iteration, event: StepDone) -> dict[str, Any]:
    change: dict[str, Any] = {"verdict": event.verdict} if event.verdict is not None else {}
    match event.result:
        case LocateResult(located=located):
            change["located"] = located
        case PlanResult(plan=plan):
            change["plan"] = plan
        case PlanReviewResult(review=plan_review):
            change["plan_review"] = plan_review
        case ImplementResult() as made:
            change |= {"breaches": made.breaches}
            if made.commit is not None:
                change |= {"work": made.commit, "diff": made.diff, "code_review": None}
                change |= {name: getattr(made, name) for name in ("files", "added", "removed")}
        case CodeReviewResult(review=code_review):
            change["code_review"] = code_review
        case BuildResult() as build:
            change["build"] = build
        case CheckResult() as check:
            change["check"] = check
        case EvaluateResult(votes=votes):
            change["votes"] = votes
        case _:
            pass
    return change


def _moved(run: Run, event: Moved) -> dict[str, Any]:
    change: dict[str, Any] = {"next": event.next, "outcome": None, "because": "", "stop": None, "last": None}
    if event.budget is not None:
        change["budget"] = event.budget
    if event.anyway is not None:
        change["anyway"] = event.anyway
    if event.what == "rewound":
        change |= _rewound(run, event.next)
    return change


def _rewound(run: Run, to: Step) -> dict[str, Any]:
    """Forgets what came after the stage that is done again; money and trials of before stay counted as spent."""
    change: dict[str, Any] = {
        "consents": (),
        "statement": None,
        "swap": None,
        "verdict": None,
    }
    if to.stage is Stage.BASELINE:
        return change | {"iterations": (), "baseline": None, "trials": ()}
    kept = tuple(iteration for iteration in run.iterations if iteration.number < to.iteration)
    current = next((one for one in run.iterations if one.number == to.iteration), None)
    if current is None:
        return change | {"iterations": kept}
    images = {one.build.version.image for one in kept if one.build and one.build.version} | {run.started.base.image}
    fresh = _cleared(current, to.stage)
    if fresh.build is not None and fresh.build.version is not None and to.stage is not Stage.TRIAL:
        images.add(fresh.build.version.image)
    trials = tuple(trial for trial in run.trials if trial.version in images)
    return change | {"iterations": (*kept, fresh), "trials": trials}


_MADE_BY: tuple[tuple[Stage, tuple[str, ...]], ...] = (
    (Stage.LOCATE, ("located",)),
    (Stage.PLAN, ("plan",)),
    (Stage.PLAN_REVIEW, ("plan_review",)),
    (Stage.IMPLEMENT, ("work", "diff", "files", "added", "removed", "breaches")),
    (Stage.CODE_REVIEW, ("code_review",)),
    (Stage.BUILD, ("build",)),
    (Stage.CHECK, ("check",)),
    (Stage.EVALUATE, ("votes",)),
    (Stage.VERDICT, ("verdict",)),
)


def _cleared(iteration: Iteration, to: Stage) -> Iteration:
    """The iteration as it was before stage `to`."""
    order = list(Stage)
    names = [name for stage, made in _MADE_BY if order.index(stage) >= order.index(to) for name in made]
    fresh = Iteration(number=iteration.number, start=iteration.start)
    return iteration.model_copy(update={name: getattr(fresh, name) for name in names})
