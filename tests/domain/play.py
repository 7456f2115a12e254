"""Plays the pure machine with scripted results: what an engine would do, without one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from moss.domain import machine, verdict
from moss.domain.budget import Budget, Spend
from moss.domain.case import Level
from moss.domain.depth import Depth
from moss.domain.events import (
    BaselineResult,
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
    PlanResult,
    PlanReviewResult,
    PreflightResult,
    Reserved,
    Result,
    SoakLook,
    Stage,
    Started,
    Step,
    SwapResult,
    TrialEnded,
    TrialsResult,
    VerdictAsked,
    Version,
)
from moss.domain.ids import BatchId, CaseId, CommitId, Digest, Key, RunId
from moss.domain.machine import Do, Done, decide, settle
from moss.domain.record import proof_of
from moss.domain.results import CodeReview, Located, Plan, PlanReview, Suspect
from moss.domain.run import Run, apply, begin
from moss.domain.swap import Phase, PhaseResult
from moss.domain.trial import Mark, Trial

T0 = datetime(2026, 1, 1, tzinfo=UTC)
BASE = Digest("sha256:" + "b" * 64)
CASES = tuple(CaseId(f"case-{n}") for n in (1, 2, 3))
GUARDS = tuple(CaseId(f"guard-{n}") for n in (1, 2, 3))
NEEDS = {Stage.LOCATE: Spend(money_usd=0.25, iterations=1), Stage.PLAN: Spend(money_usd=0.25)}


def started(depth: Depth = Depth.STANDARD, budget: Budget | None = None, **change: object) -> Started:
    event = Started(
        run=RunId("ev-01"), substrate="clerk", batch=BatchId("b-01"), label="refund-twice",
        evidence=Digest("sha256:e"), policy=Digest("sha256:p"),
        base=Version(commit=CommitId("0" * 40), image=BASE, name="clerk:base"),
        cases=CASES, guards=GUARDS, depth=depth, budget=budget or Budget(), reserve=NEEDS,
        by="alice", next=Step(stage=Stage.BASELINE), soak_hours=0,
    )  # fmt: skip
    return event.model_copy(update=change)


def image(iteration: int) -> Digest:
    return Digest(f"sha256:{iteration:064x}")


def trial(case: CaseId, version: Digest, repeat: int, passed: bool, *, valid: bool = True, tag: str = "") -> Trial:
    level = Level.STRONG if passed else Level.MISSING
    return Trial(
        key=Key(f"{version[-4:]}/{case}/{repeat}{tag}"), case=case, version=version, repeat=repeat, valid=valid,
        passed=passed and valid, marks=(Mark(keypoint="k", level=level),) if valid else (),
        invalid_because=None if valid else "box lost",
    )  # fmt: skip


@dataclass
class Play:
    """What happens: `fixes[n]` are the cases that iteration n fixes, `breaks[n]` the guards that it breaks."""

    fixes: dict[int, tuple[CaseId, ...]] = field(default_factory=dict)
    breaks: dict[int, tuple[CaseId, ...]] = field(default_factory=dict)
    reproduces: tuple[CaseId, ...] = CASES
    guards_hold: tuple[CaseId, ...] = GUARDS
    results: dict[tuple[Stage, int, int], Result] = field(default_factory=dict)
    phases: dict[Phase, PhaseResult] = field(default_factory=dict)
    votes: dict[int, tuple[JurorVote, ...]] = field(default_factory=dict)
    takes: float = 0.0
    """seconds that each step costs"""
    wave: Callable[[Trial], Trial] = lambda trial: trial
    events: list[tuple[Event, datetime]] = field(default_factory=list)
    now: datetime = T0

    def begin(self, event: Started) -> Run:
        self.events = [(event, self.now)]
        return begin(event, self.now)

    def record(self, run: Run, event: Event) -> Run:
        self.now += timedelta(seconds=1)
        self.events.append((event, self.now))
        return apply(run, event, self.now)

    def on(self, run: Run, most: int = 500) -> Run:
        """Until it waits or ended."""
        for _ in range(most):
            do = decide(run, self.now)
            if do is None:
                return run
            run = self.record(run, do) if isinstance(do, Ended) else self.step(run, do)
        raise AssertionError("the run does not come to an end")

    def step(self, run: Run, do: Do) -> Run:
        if do.reserve != Spend():
            run = self.record(run, Reserved(key=do.key, amount=do.reserve))
        run, result = self.perform(run, do)
        return self.record(run, settle(run, do, Done(result, spent=do.reserve + Spend(seconds=self.takes)), self.now))

    def all(self, event: Started | None = None) -> Run:
        return self.on(self.begin(event or started()))

    def consent(self, run: Run) -> Run:
        assert run.next is not None
        nxt = Step(stage=Stage.PREFLIGHT, iteration=run.next.iteration, epoch=run.next.epoch)
        consent = {"statement": run.statement, "approver": "alice", "key": "SHA256:x", "signature": b"s"}
        return self.record(
            run, Consented.model_validate({"consent": consent, "approver": "alice", "enough": True, "next": nxt})
        )

    # ------------------------------------------------------------------ results

    def perform(self, run: Run, do: Do) -> tuple[Run, Result]:
        step = do.step
        said = self.results.get((step.stage, step.iteration, step.round))
        if said is not None:
            return run, said
        if step.stage is Stage.BASELINE:
            run, ran = self.trials(run, step, verdict.baseline(proof_of(run)).wanted)
            return run, BaselineResult(ran=ran, check=CheckResult(ok=True) if step.round == 1 else None)
        if step.stage is Stage.TRIAL:
            run, ran = self.trials(run, step, verdict.judge(proof_of(run)).wanted)
            return run, TrialsResult(ran=ran)
        return run, self.plain(run, step)

    def trials(self, run: Run, step: Step, wanted: tuple[verdict.Wanted, ...]) -> tuple[Run, int]:
        ran = 0
        for one in wanted:
            done = sum(trial.case == one.case and trial.version == one.version for trial in run.trials)
            for repeat in range(done + 1, done + one.more + 1):
                made = self.wave(trial(one.case, one.version, repeat, self.passes(one.case, one.version)))
                run = self.record(run, TrialEnded(step=step, trial=made))
                ran += 1
        return run, ran

    def passes(self, case: CaseId, version: Digest) -> bool:
        if version == BASE:
            return case in self.guards_hold or (case in CASES and case not in self.reproduces)
        iteration = int(version[-4:], 16)
        if case in GUARDS:
            return case not in self.breaks.get(iteration, ())
        return case in self.fixes.get(iteration, ())

    def plain(self, run: Run, step: Step) -> Result:
        match step.stage:
            case Stage.LOCATE:
                return LocateResult(located=Located(suspects=(Suspect(rank=1, path="a.py", line=1, why="w"),)))
            case Stage.PLAN:
                return PlanResult(plan=Plan(summary="s", cause="c", steps=("do",)))
            case Stage.PLAN_REVIEW:
                return PlanReviewResult(review=PlanReview(accepted=True))
            case Stage.IMPLEMENT:
                commit = CommitId(f"{step.iteration:038x}{step.round:02x}")
                return ImplementResult(commit=commit, diff=Digest("sha256:d"), files=1, added=2, removed=1)
            case Stage.CODE_REVIEW:
                return CodeReviewResult(review=CodeReview(accepted=True))
            case Stage.BUILD:
                work = run.iterations[-1].work
                assert work is not None
                return BuildResult(
                    version=Version(commit=work, image=image(step.iteration), name=f"clerk:{step.iteration}")
                )
            case Stage.CHECK:
                return CheckResult(ok=True, passed=12, failed=0)
            case Stage.EVALUATE:
                return EvaluateResult(votes=self.votes.get(step.iteration, ()))
            case Stage.VERDICT:
                return VerdictAsked()
            case Stage.PREFLIGHT:
                return PreflightResult(ok=True, live=BASE, ready_seconds=0.5)
            case Stage.SWAP:
                assert run.swap is not None
                snap = PhaseResult(ok=True, has_snapshot=True if run.swap.phase is Phase.SNAPSHOT else None)
                return SwapResult(phase=self.phases.get(run.swap.phase, snap), performed=run.swap.phase)
            case Stage.SOAK:
                return SoakLook(over=self.now >= machine.soak_end(run), seen=10)
            case _:
                raise AssertionError(step)
