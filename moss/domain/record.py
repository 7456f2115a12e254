"""Owns how a run's record looks to the verdict: one place, so the machine, the review and the engine see the same.

Never decides. Invariant: an iteration that never came to a candidate is not ok, with the reason for the coding agent.
"""

from moss.domain.budget import Spend
from moss.domain.depth import DIALS, Dial
from moss.domain.proof import IterationProof, LimitVote, Proof, Rules
from moss.domain.run import Iteration, Run


def dial(run: Run) -> Dial:
    """The bounds of a run's depth."""
    return DIALS[run.started.depth]


def proof_of(run: Run) -> Proof:
    """All that is on record, as the verdict looks at it."""
    started, locked = run.started, run.baseline
    can_pay = run.budget.lacks(run.held_back, Spend(trials=1)) is None
    return Proof(
        cases=locked.reproduced if locked else started.cases,
        guards=locked.admitted if locked else started.guards,
        base=started.base.image,
        rules=Rules.of(dial(run), budget_left=can_pay, anyway=run.anyway),
        live=tuple(trial for trial in run.trials if trial.version == started.base.image),
        iterations=tuple(iteration_proof(run, one) for one in run.iterations),
        votes=tuple(
            LimitVote(juror=vote.juror, says=vote.says, quote_found=vote.quote_found)
            for vote in (run.iteration.votes if run.iteration else ())
        ),
    )


def iteration_proof(run: Run, iteration: Iteration) -> IterationProof:
    """One iteration as the verdict looks at it. One that never came to a candidate is not ok, with the reason."""
    version = iteration.build.version if iteration.build else None
    refused = _refused_before_build(iteration)
    return IterationProof(
        iteration=iteration.number,
        commit=iteration.work,
        version=version.image if version else None,
        policy_ok=not refused,
        build_ok=bool(refused) or version is not None,
        check_ok=iteration.check is None or iteration.check.ok,
        diff_lines=iteration.added + iteration.removed,
        refusals=refused or _refused_after_build(iteration),
        trials=tuple(trial for trial in run.trials if version and trial.version == version.image),
    )


def _refused_before_build(iteration: Iteration) -> tuple[str, ...]:
    plan, code = iteration.plan_review, iteration.code_review
    if plan is not None and not plan.accepted:
        return (f"the plan was rejected ({plan.fault or 'other'}): {plan.reason}",)
    if iteration.breaches:
        return tuple(f"the policy refused the change: {breach}" for breach in iteration.breaches)
    if code is not None and not code.accepted:
        return (f"the code was rejected: {code.reason}",)
    return () if iteration.build is not None else ("no candidate was made",)


def _refused_after_build(iteration: Iteration) -> tuple[str, ...]:
    if iteration.build is not None and iteration.build.version is None:
        return ("it does not build: " + iteration.build.tail[-2000:],)
    if iteration.check is not None and not iteration.check.ok:
        return ("its own check fails: " + iteration.check.tail[-2000:],)
    return ()
