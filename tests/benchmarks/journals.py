"""Owns what the journal of a run says that came to its consent in one iteration, for benchmarks that start there."""

from datetime import datetime, timedelta

from moss.domain.budget import Budget
from moss.domain.consent import Statement
from moss.domain.depth import Depth
from moss.domain.events import (
    BaselineResult,
    BuildResult,
    Event,
    ImplementResult,
    Result,
    Stage,
    Started,
    Step,
    StepDone,
    VerdictAsked,
    Version,
)
from moss.domain.frozen import sha256
from moss.domain.ids import BatchId, Digest, RunId
from moss.domain.verdict import Next, Verdict, VerdictKind

NONE = Digest(sha256(b"no evidence"))


def story(run: RunId, batch: BatchId, base: Version, new: Version, now: datetime) -> list[Event]:
    """From the start to the offer, which one approver can take."""
    started = Started(
        run=run,
        substrate="clerk",
        batch=batch,
        label="bench",
        evidence=NONE,
        policy=NONE,
        base=base,
        cases=(),
        guards=(),
        depth=Depth.LIGHT,
        budget=Budget(),
        by="bench",
        approvals=1,
        soak_hours=0,
        preflight=False,
        next=Step(stage=Stage.BASELINE),
    )
    baseline, implement, build, verdict, after = (
        Step(stage=stage, iteration=min(place, 1))
        for place, stage in enumerate((Stage.BASELINE, Stage.IMPLEMENT, Stage.BUILD, Stage.VERDICT, Stage.CONSENT))
    )

    def done(step: Step, result: Result, following: Step, **more: object) -> StepDone:
        fields = {"step": step, "key": step.key(run), "result": result, "next": following, **more}
        return StepDone.model_validate(fields)

    statement = Statement(
        substrate="clerk", run=run, base=base.image, candidate=new.image, diff=NONE, evidence=NONE, policy=NONE,
        expires=now + timedelta(hours=24),
    )  # fmt: skip
    said = Verdict(iteration=1, row=3, kind=VerdictKind.CONVERGED, next=Next.CONSENT, reason="bench", chosen=1)
    return [
        started,
        done(baseline, BaselineResult(ran=0), Step(stage=Stage.LOCATE, iteration=1)),
        done(implement, ImplementResult(commit=new.commit, diff=NONE), build),
        done(build, BuildResult(version=new), verdict),
        done(verdict, VerdictAsked(), after, verdict=said, statement=statement),
    ]
