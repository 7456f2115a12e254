"""Owns what people see of one run: the screen of `moss show`, the review before a yes, what to do next. Pure.

The page and the terminal print the same words from the same values. Never decides; never asks a port.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from moss.api.patches import files_of
from moss.api.plain import plain
from moss.api.says import Money, Prediction, Review, Show
from moss.api.story import stage_lines, swaps
from moss.domain.assessment import assess, bench
from moss.domain.batch import Batch
from moss.domain.budget import Budget, Spend
from moss.domain.events import Outcome, Stage
from moss.domain.ids import CaseId, Digest
from moss.domain.journal import Entry
from moss.domain.matrix import matrix
from moss.domain.record import proof_of
from moss.domain.run import Iteration, Run
from moss.domain.standing import Held
from moss.domain.trial import Trial

NAME = "NAME"
"""an approver, where it is not known who there is"""


def waits(run: Run) -> bool:
    """Whether it waits for a person."""
    return run.outcome is None and run.next is not None and run.next.stage is Stage.CONSENT


def show(run: Run, entries: Sequence[Entry], batch: Batch | None, paused: bool, approver: str = NAME) -> Show:
    """All of one run. `approver`: who may say yes, for the command that says it."""
    started = run.started
    return Show(
        run=run.id,
        substrate=started.substrate,
        batch=started.batch,
        label=started.label,
        depth=started.depth,
        by=started.by,
        scripted=started.scripted,
        base=started.base.name,
        began=run.began,
        updated=run.updated,
        stage=run.next.stage if run.next else None,
        outcome=run.outcome,
        because=run.because,
        paused=paused,
        stopping=run.stop if run.outcome is None else None,
        lines=stage_lines(entries),
        trials=sum(trial.valid for trial in run.trials),
        trials_invalid=sum(not trial.valid for trial in run.trials),
        matrix=matrix(run, batch),
        verdict=verdict_words(run),
        swaps=swaps(entries),
        cost=money(run.spent, run.budget),
        next=next_words(run, paused, approver),
    )


def verdict_words(run: Run) -> str:
    """`CONVERGED: 3 of 3 fixed, 0 of 6 guards broken`."""
    said = run.verdict
    if said is None or said.kind is None:
        return ""
    return f"{said.kind}{' partial' if said.partial else ''}: {said.reason}"


def next_words(run: Run, paused: bool, approver: str = NAME) -> tuple[str, ...]:
    """Commands that make sense now, as they are to be typed."""
    if waits(run):
        return (f"moss review {run.id}", f"moss approve {run.id} --as {approver}", f"moss reject {run.id}")
    if run.outcome is None:
        return ("moss resume --all",) if paused else (f"moss watch {run.id}", f"moss stop {run.id}")
    match run.outcome:
        case Outcome.COMMITTED:
            return ("moss rollback",)
        case Outcome.STOPPED | Outcome.FAILED | Outcome.OUT_OF_BUDGET if run.swap is None:
            return (f"moss resume {run.id}", f"moss log {run.id}")
        case _:
            return (f"moss log {run.id}",)


def money(spent: Spend, budget: Budget) -> Money:
    return Money(
        money_usd=spent.money_usd,
        money_limit=budget.money_usd,
        tokens=spent.tokens,
        token_limit=budget.tokens,
        seconds=spent.seconds,
        trials=spent.trials,
    )


# ------------------------------------------------------------------ the review


@dataclass(frozen=True, slots=True)
class Beside:
    """What a review shows that is not in the journal. `live`: the digest that runs now, None where nothing does."""

    batch: Batch | None
    diff: bytes
    live: Digest | None
    snapshot_limit: int
    state_bytes: int | None
    paused: bool
    approver: str = NAME


def review(run: Run, beside: Beside) -> Review:
    """What a person reads before saying yes."""
    chosen = offered(run)
    numbers = run.verdict.numbers if run.verdict else None
    trials = candidate_trials(run, chosen)
    told = [trial.changed_lines_ran for trial in trials if trial.valid and trial.changed_lines_ran is not None]
    plan = chosen.plan if chosen else None
    return Review(
        run=run.id,
        substrate=run.started.substrate,
        outcome=run.outcome,
        waits=waits(run),
        partial=bool(run.verdict and run.verdict.partial),
        scripted=run.started.scripted,
        failures=len(run.started.cases),
        reproduced=len(run.baseline.reproduced) if run.baseline else 0,
        left_out=run.baseline.not_reproduced if run.baseline else (),
        files=files_of(beside.diff),
        summary=plain(plan.summary, 500) if plan else "",
        fixed=numbers.fixed if numbers else 0,
        cases=numbers.cases if numbers else 0,
        valid=sum(trial.valid and trial.case in run.started.cases for trial in trials),
        guards=numbers.guards if numbers else 0,
        guards_held=_guards_held(run, chosen),
        below=numbers.breakage_below if numbers else None,
        own_checks=chosen.check.passed if chosen and chosen.check else None,
        own_checks_ran=bool(chosen and chosen.check and chosen.check.ran),
        lines_ran=sum(told),
        lines_told=len(told),
        predictions=_predictions(run, chosen),
        risks=tuple(plain(risk, 300) for risk in plan.risks) if plan else (),
        invalid=tuple(plain(trial.invalid_because, 120) for trial in trials if not trial.valid),
        invalid_live=sum(not trial.valid for trial in run.trials if trial.version == run.started.base.image),
        words_only=sum(case.words_only for case in beside.batch.cases) if beside.batch else 0,
        redacted=sum(case.redacted for case in beside.batch.cases) if beside.batch else 0,
        cost=money(run.spent, run.budget),
        seconds=(run.updated - run.began).total_seconds(),
        base=run.started.base.name,
        base_image=run.started.base.image,
        candidate=chosen.build.version.name if chosen and chosen.build and chosen.build.version else "",
        current=None if beside.live is None else beside.live == run.started.base.image,
        snapshot_note=_snapshot_note(beside),
        statement=run.statement,
        consents=tuple(one.approver for one in run.consents),
        needed=run.started.approvals,
        matrix=matrix(run, beside.batch),
        next=next_words(run, beside.paused, beside.approver),
    )


def offered(run: Run) -> Iteration | None:
    """The iteration that is (or was) offered; else the newest."""
    number = run.verdict.chosen if run.verdict else None
    chosen = next((one for one in run.iterations if one.number == number), None)
    return chosen or run.iteration


def candidate_trials(run: Run, chosen: Iteration | None) -> list[Trial]:
    version = chosen.build.version if chosen and chosen.build else None
    return [trial for trial in run.trials if version is not None and trial.version == version.image]


def _guards_held(run: Run, chosen: Iteration | None) -> int:
    if run.baseline is None or chosen is None:
        return 0
    proof = proof_of(run)
    one = next((one for one in proof.iterations if one.iteration == chosen.number), None)
    return len(assess(proof, one, bench(proof)).held(Held.HELD)) if one else 0


def _predictions(run: Run, chosen: Iteration | None) -> tuple[Prediction, ...]:
    """A prediction that names a case came true when that case was fixed; nothing tells of a general one."""
    if chosen is None or chosen.plan is None:
        return ()
    fixed: set[CaseId] = set(run.verdict.fixed) if run.verdict else set()
    known = set(run.started.cases)
    return tuple(
        Prediction(says=plain(one.says, 300), held=CaseId(one.case) in fixed if one.case in known else None)
        for one in chosen.plan.predictions
    )


def _snapshot_note(beside: Beside) -> str:
    if beside.state_bytes is not None and beside.state_bytes > beside.snapshot_limit:
        return "the state is larger than the snapshot limit: a restore keeps what the candidate wrote"
    return ""
