"""Owns the verdict: what is said of the live version at the baseline and of each iteration after its trials.

Never runs a trial, never sees a clock: the six rows of design 7 over the evidence, the first that holds decides.
Invariants: a candidate that row 2 forbids is never chosen; a vote can end a run, never promote.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from pydantic import Field

from moss.domain.assessment import Assessment, Bench, assess, bench
from moss.domain.feedback import feedback
from moss.domain.frozen import Frozen
from moss.domain.ids import CaseId
from moss.domain.proof import IterationProof, LimitVote, Proof, Rules, Wanted, guards_needed
from moss.domain.standing import Held, Tally, admitted, baseline_needs, reproduces, tallies
from moss.domain.stats import upper_bound
from moss.domain.votes import limit_of

__all__ = [
    "Baseline",
    "IterationProof",
    "LimitVote",
    "Next",
    "Numbers",
    "Proof",
    "Rules",
    "Verdict",
    "VerdictKind",
    "Wanted",
    "baseline",
    "best",
    "judge",
]


class VerdictKind(StrEnum):
    CONVERGED = "CONVERGED"
    NEED_MORE_WORK = "NEED_MORE_WORK"
    FUNDAMENTAL_LIMIT_MODEL = "FUNDAMENTAL_LIMIT_MODEL"
    FUNDAMENTAL_LIMIT_ARCHITECTURE = "FUNDAMENTAL_LIMIT_ARCHITECTURE"


class Next(StrEnum):
    """What follows. The last six are run outcomes by the same word."""

    TRIALS = "trials"
    ITERATE = "iterate"
    CONSENT = "consent"
    LIMIT_MODEL = "limit_model"
    LIMIT_ARCHITECTURE = "limit_architecture"
    NO_IMPROVEMENT = "no_improvement"
    NOT_REPRODUCED = "not_reproduced"
    OUT_OF_BUDGET = "out_of_budget"
    FAILED = "failed"
    """too few guards hold on the live version: nothing could ever be offered"""


class Numbers(Frozen):
    """The figures a verdict stands on, for the review. `p` is over the cases in a live world, None without one.

    `breakage_below` is the exact one-sided 95 % upper bound on the breakage of turns like the guards; a shaky
    guard counts as broken in it. `invalid_live`: invalid trials of the same cases and guards on the live version.
    """

    cases: int = 0
    fixed: int = 0
    guards: int = 0
    broken: int = 0
    shaky: int = 0
    valid: int = 0
    invalid: int = 0
    invalid_live: int = 0
    p: float | None = None
    breakage_below: float | None = None


class Baseline(Frozen):
    """What the trials on the live version say. `wanted` non-empty: not decided yet (`next` is trials)."""

    reproduced: tuple[CaseId, ...]
    not_reproduced: tuple[CaseId, ...]
    admitted: tuple[CaseId, ...]
    not_admitted: tuple[CaseId, ...]
    wanted: tuple[Wanted, ...]
    next: Next
    reason: str


class Verdict(Frozen):
    """What is said of iteration `iteration`. `row` is the row of design 7 that decided.

    `kind` is None while trials are missing (row 1). `chosen`: the iteration that is offered for consent.
    `start_from`: the iteration whose commit the next one starts from, None for the base.
    `fixed`, `unfixed`: cases of the chosen iteration, of the judged one where none is chosen.
    `feedback`: lines for the coding agent; they never tell what a guard is.
    """

    iteration: int
    row: int = Field(ge=1, le=6)
    kind: VerdictKind | None
    next: Next
    reason: str
    partial: bool = False
    chosen: int | None = None
    start_from: int | None = None
    fixed: tuple[CaseId, ...] = ()
    unfixed: tuple[CaseId, ...] = ()
    shaky: tuple[CaseId, ...] = ()
    feedback: tuple[str, ...] = ()
    wanted: tuple[Wanted, ...] = ()
    numbers: Numbers = Numbers()


def baseline(proof: Proof) -> Baseline:
    """Which cases reproduce on the live version and which guards are admitted; looks at `proof.live` only."""
    n, live = proof.rules.trials, tallies(proof.live, proof.base)
    cases = {case: reproduces(live.get(case, Tally()), n) for case in proof.cases}
    guards = {guard: admitted(live.get(guard, Tally()), n) for guard in proof.guards}
    wanted = tuple(
        Wanted(case=case, version=proof.base, more=baseline_needs(tally, n) - tally.valid)
        for case, decided in (cases | guards).items()
        if decided is None
        for tally in (live.get(case, Tally()),)
    )
    kept, admits = _where(cases, True), _where(guards, True)
    following, reason = _after_baseline(proof, wanted, live, kept, admits)
    return Baseline(
        reproduced=kept,
        not_reproduced=_where(cases, False),
        admitted=admits,
        not_admitted=_where(guards, False),
        wanted=wanted,
        next=following,
        reason=reason,
    )


def judge(proof: Proof) -> Verdict:
    """The verdict on the last iteration of `proof`, whose baseline is decided.

    Raises: ValueError without an iteration.
    """
    if not proof.iterations:
        raise ValueError("there is no iteration to judge")
    against, rules = bench(proof), proof.rules
    history = [assess(proof, iteration, against) for iteration in proof.iterations]
    now, top = history[-1], _best(history, against)
    left = now.proof.iteration < rules.iterations
    if now.wanted:
        return _trials_missing(proof, against, now, top)
    if now.forbidden and left:
        return _more_work(2, now, top, f"never offered: {'; '.join(now.forbidden)}")
    if now.fixes and not now.unfixed and not now.forbidden:
        return _offer(3, now, f"{_counted(now)}, {_guarded(now)}")
    limit = None if now.forbidden or rules.anyway or any(one.better for one in history) else limit_of(proof.votes)
    if limit is not None:
        reason = "two jurors quote evidence that no source change can do it, and no case got better"
        return _say(4, _LIMITS[Next(limit)], Next(limit), now, top, reason)
    if left and not _plateau(history, against, rules.plateau):
        return _more_work(5, now, top, f"{_counted(now)}, {_guarded(now)}")
    return _last_word(now, top, "the last iteration" if not left else f"no better score in {rules.plateau} iterations")


def best(proof: Proof) -> IterationProof | None:
    """The iteration with the highest score that row 2 does not forbid and that beats the live version, if any."""
    against = bench(proof)
    top = _best([assess(proof, iteration, against) for iteration in proof.iterations], against)
    return top.proof if top else None


# ------------------------------------------------------------------ the baseline


def _where(decided: Mapping[CaseId, bool | None], value: bool) -> tuple[CaseId, ...]:
    return tuple(case for case, one in decided.items() if one is value)


def _after_baseline(
    proof: Proof,
    wanted: Sequence[Wanted],
    live: Mapping[CaseId, Tally],
    kept: Sequence[CaseId],
    admits: Sequence[CaseId],
) -> tuple[Next, str]:
    if wanted:
        return _or_out_of_budget(proof, wanted, lambda one: live.get(one.case, Tally()))
    if not kept:
        return Next.NOT_REPRODUCED, f"0 of {len(proof.cases)} failures reproduce on the live version"
    needed = guards_needed(len(kept))
    if len(admits) < needed:
        return Next.FAILED, f"only {len(admits)} guards hold on the live version, {needed} are needed"
    return Next.ITERATE, f"{len(kept)} of {len(proof.cases)} failures reproduce on the live version"


def _or_out_of_budget(proof: Proof, wanted: Sequence[Wanted], tally: Callable[[Wanted], Tally]) -> tuple[Next, str]:
    """More trials, unless they may not be paid or a case is invalid again and again. `tally`: what there is so far."""
    more = sum(one.more for one in wanted)
    if not proof.rules.budget_left:
        return Next.OUT_OF_BUDGET, f"{more} more trials are needed and the budget has none left"
    for one in wanted:
        if (lost := tally(one).invalid) > proof.rules.invalid_limit:
            return Next.OUT_OF_BUDGET, f"{lost} trials of {one.case} were invalid: no more are paid for"
    return Next.TRIALS, f"{more} more trials are needed"


# ------------------------------------------------------------------ the six rows


def _trials_missing(proof: Proof, against: Bench, now: Assessment, top: Assessment | None) -> Verdict:
    def tally(one: Wanted) -> Tally:
        if one.version == now.proof.version:
            return now.tally[one.case]
        return (against.opened if one.live_from is not None else against.live).get(one.case, Tally())

    following, reason = _or_out_of_budget(proof, now.wanted, tally)
    return _say(1, None, following, now, top, reason)


def _more_work(row: int, now: Assessment, top: Assessment | None, reason: str) -> Verdict:
    return _say(row, VerdictKind.NEED_MORE_WORK, Next.ITERATE, now, top, reason)


def _offer(row: int, chosen: Assessment, reason: str) -> Verdict:
    said = _say(row, VerdictKind.CONVERGED, Next.CONSENT, chosen, chosen, reason)
    return said.model_copy(update={"chosen": chosen.proof.iteration, "partial": bool(chosen.unfixed), "feedback": ()})


def _last_word(now: Assessment, top: Assessment | None, because: str) -> Verdict:
    """Row 6: the best iteration as it is, or nothing."""
    if top is not None and top.fixed and not top.worse:
        said = _offer(6, top, f"{because}: iteration {top.proof.iteration} is the best, {_counted(top)}")
        return said.model_copy(update={"iteration": now.proof.iteration})
    return _say(6, VerdictKind.NEED_MORE_WORK, Next.NO_IMPROVEMENT, now, top, f"{because}: {_shortfall(top)}")


def _say(
    row: int, kind: VerdictKind | None, following: Next, now: Assessment, top: Assessment | None, reason: str
) -> Verdict:
    return Verdict(
        iteration=now.proof.iteration,
        row=row,
        kind=kind,
        next=following,
        reason=reason,
        start_from=top.proof.iteration if top else None,
        fixed=now.fixed,
        unfixed=now.unfixed,
        shaky=now.held(Held.SHAKY),
        feedback=tuple(feedback(now)) if kind is VerdictKind.NEED_MORE_WORK else (),
        wanted=now.wanted if following is Next.TRIALS else (),
        numbers=_numbers(now),
    )


def _best(history: Sequence[Assessment], against: Bench) -> Assessment | None:
    """The first of those with the highest score; none that row 2 forbids, none that is not above the live version."""
    top, score = None, against.score
    for one in history:
        if not one.forbidden and one.score > score:
            top, score = one, one.score
    return top


def _plateau(history: Sequence[Assessment], against: Bench, length: int) -> bool:
    """Whether the best score has not risen for `length` iterations. One that row 2 forbids raises nothing."""
    earlier = history[: max(0, len(history) - length)]
    return len(history) >= length and _best(history, against) is _best(earlier, against)


_LIMITS = {
    Next.LIMIT_MODEL: VerdictKind.FUNDAMENTAL_LIMIT_MODEL,
    Next.LIMIT_ARCHITECTURE: VerdictKind.FUNDAMENTAL_LIMIT_ARCHITECTURE,
}


# ------------------------------------------------------------------ words and figures


def _counted(one: Assessment) -> str:
    said = f"{len(one.fixed)} of {len(one.fixes)} fixed"
    lost = [case for case in one.lost if case in one.fixes]
    return f"{said}; trials of {', '.join(lost)} are invalid that are valid on the live version" if lost else said


def _guarded(one: Assessment) -> str:
    return f"{len(one.held(Held.BROKEN))} of {len(one.guards)} guards broken"


def _shortfall(top: Assessment | None) -> str:
    if top is None:
        return "no iteration is better than the live version"
    if not top.fixed:
        return f"the best iteration ({top.proof.iteration}) fixes no case"
    return f"the best iteration ({top.proof.iteration}) makes {', '.join(top.worse)} worse"


def _numbers(one: Assessment) -> Numbers:
    broken, shaky = len(one.held(Held.BROKEN)), len(one.held(Held.SHAKY))
    tried = [guard for guard in one.guards if one.tally[guard].valid]
    return Numbers(
        cases=len(one.fixes),
        fixed=len(one.fixed),
        guards=len(one.guards),
        broken=broken,
        shaky=shaky,
        valid=sum(tally.valid for tally in one.tally.values()),
        invalid=sum(tally.invalid for tally in one.tally.values()),
        invalid_live=one.invalid_live,
        p=one.p,
        breakage_below=upper_bound(broken + shaky, len(tried)) if tried else None,
    )
