"""Owns the evaluate stage: jurors are asked whether any source change can help, where nothing got better so far.

Their word is looked up in the evidence here; what it is worth the verdict decides. A vote can end a run, never
promote it.
"""

from moss.domain import verdict
from moss.domain.batch import Batch
from moss.domain.events import EvaluateResult, JurorVote
from moss.domain.ids import Key
from moss.domain.machine import Do
from moss.domain.record import proof_of
from moss.domain.run import Run
from moss.domain.verdict import Next
from moss.domain.votes import quote_found
from moss.engine.offload import offload
from moss.engine.parts import Parts


async def evaluate(parts: Parts, run: Run, do: Do, batch: Batch) -> EvaluateResult:
    """The jurors' votes; none are asked for while the candidate stands. Raises: ModelError."""
    if not parts.judges or run.anyway or verdict.judge(proof_of(run)).next is Next.CONSENT:
        return EvaluateResult()
    lessons = lessons_of(run)
    votes = [await _vote(parts, name, do, batch, lessons) for name in range(len(parts.judges))]
    return EvaluateResult(votes=tuple(votes))


async def _vote(parts: Parts, number: int, do: Do, batch: Batch, lessons: tuple[str, ...]) -> JurorVote:
    judge = parts.judges[number]
    vote = await offload(judge.limits, batch, lessons, Key(f"{do.key}/{judge.name}"))
    quote = parts.redact(vote.quote)[:2000]
    return JurorVote(
        juror=judge.name,
        says=vote.says,
        because=parts.redact(vote.because)[:2000],
        quote=quote,
        quote_found=quote_found(quote, batch),
    )


def lessons_of(run: Run) -> tuple[str, ...]:
    """What earlier iterations taught, a line each: what was tried and what the verdict said of it."""
    lines = []
    for one in run.iterations:
        if one.verdict is not None:
            tried = one.plan.summary if one.plan else "no plan"
            lines.append(f"iteration {one.number}: {tried} -> {one.verdict.reason}")
    return tuple(lines)
