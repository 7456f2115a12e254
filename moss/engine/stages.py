"""Owns the stages with a mind: locate, plan, plan review, implement, code review. Each is one call of a coding agent.

Never takes an agent's word for its edits: the tree is diffed, checked by the policy and re-applied on a clean tree.
Invariant: a step's work tree is made once, in one rename; a step that is performed again finds it as it was left.
"""

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moss.domain.batch import Batch
from moss.domain.events import (
    CodeReviewResult,
    ImplementResult,
    LocateResult,
    PlanResult,
    PlanReviewResult,
    Result,
    Stage,
)
from moss.domain.frozen import Frozen
from moss.domain.globs import matches
from moss.domain.ids import CommitId
from moss.domain.literals import absent_from, expected_literals
from moss.domain.machine import Do, Done
from moss.domain.patch import Patch
from moss.domain.policy import check_patch
from moss.domain.results import CodeReview, Implemented, Located, Plan, PlanReview
from moss.domain.run import Iteration, Run
from moss.engine.coding import CoderOutcome, CodingRunner
from moss.engine.evaluate import lessons_of
from moss.engine.faults import step_failed
from moss.engine.offload import offload, to_its_end
from moss.engine.parts import Parts
from moss.engine.places import drop_tree, step_folder
from moss.errors import Refused
from moss.ports import CoderRole, CoderTask
from moss.prompts import Prompt, PromptParts, evidence_files, render, schema_of


@dataclass(frozen=True, slots=True)
class _Mind:
    """What a stage's agent may do, and the form of its answer."""

    role: CoderRole
    result: type[Frozen]


MINDS: Mapping[Stage, _Mind] = {
    Stage.LOCATE: _Mind(CoderRole.PLANNER, Located),
    Stage.PLAN: _Mind(CoderRole.PLANNER, Plan),
    Stage.PLAN_REVIEW: _Mind(CoderRole.REVIEWER, PlanReview),
    Stage.IMPLEMENT: _Mind(CoderRole.EDITOR, Implemented),
    Stage.CODE_REVIEW: _Mind(CoderRole.REVIEWER, CodeReview),
}


class Minds:
    """Performs the stages with a mind."""

    def __init__(self, parts: Parts, runner: CodingRunner) -> None:
        self._parts, self._runner = parts, runner

    async def perform(self, run: Run, do: Do, batch: Batch) -> Done:
        """One call; one that failed is a `StepFailed` with its price. Raises: BoxError, GatewayError, NoSpace."""
        iteration = run.iterations[-1]
        start = starts_from(iteration, do.step.stage)
        tree = step_folder(self._parts.settings.home, run.id, do.key) / "tree"
        await to_its_end(_drop_others, tree.parent)
        await to_its_end(self._lay_out, start, tree)
        prompt = render(do.step.stage.value, await self._prompt_parts(run, do, batch))
        outcome = await self._call(run, do, prompt, tree, batch)
        if outcome.error is not None:
            return Done(step_failed(outcome.error), outcome.spent, 0.0, prompt.hash, outcome.transcript)
        answer = MINDS[do.step.stage].result.model_validate(outcome.checked())
        result = await self._result(run, do, answer, start, tree, batch)
        return Done(result, outcome.spent, 0.0, prompt.hash, outcome.transcript)

    def _lay_out(self, commit: CommitId, tree: Path) -> None:
        """The tree of `commit`, unless an earlier performance of this step left it: the agent may have worked in it."""
        if tree.exists():
            return
        # a name of its own: an attempt that lost its claim may still be at work beside this one
        half = tree.with_name(f"tree.{secrets.token_hex(4)}")
        half.parent.mkdir(parents=True, exist_ok=True)
        self._parts.source.export(commit, half)
        for path in self._hidden(half):
            path.unlink()
        try:
            half.rename(tree)
        except OSError:
            if not tree.exists():
                raise
            drop_tree(half)  # the other one came first

    def _hidden(self, tree: Path) -> list[Path]:
        """Files of a tree that no coding agent may see."""
        hidden = self._parts.settings.substrate.hidden
        files = [path for path in tree.rglob("*") if path.is_symlink() or path.is_file()]
        return [path for path in files if matches(path.relative_to(tree).as_posix(), hidden)]

    def _unhide(self, whole: Path, tree: Path) -> None:
        """Puts the hidden files back as they were in `whole`; what an agent wrote in their places goes."""
        for path in self._hidden(tree):
            path.unlink()
        for path in self._hidden(whole):
            place = tree / path.relative_to(whole)
            if not place.parent.resolve().is_relative_to(tree.resolve()):
                raise Refused(f"{place.parent.name} is a link out of the tree")
            try:
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, place, follow_symlinks=False)
            except OSError as error:
                where = path.relative_to(whole).as_posix()
                raise Refused(f"something stands in the way of {where}: {error.strerror}") from None

    async def _call(self, run: Run, do: Do, prompt: Prompt, tree: Path, batch: Batch) -> CoderOutcome:
        mind, role = MINDS[do.step.stage], self._parts.settings.role(do.step.stage.value, run.started.coder)
        task = CoderTask(
            key=do.key,
            role=mind.role,
            stage=do.step.stage.value,
            iteration=do.step.iteration,
            round=do.step.round,
            prompt=prompt.text,
            schema=schema_of(do.step.stage.value),
            model=role.model,
        )
        return await self._runner.run(task, self._parts.coder(role), tree, role, run.id, evidence_files(batch))

    # ------------------------------------------------------------------ what an answer means

    async def _result(self, run: Run, do: Do, answer: Frozen, start: CommitId, tree: Path, batch: Batch) -> Result:
        match answer:
            case Located():
                return LocateResult(located=answer)
            case Plan():
                return PlanResult(plan=answer)
            case PlanReview():
                return PlanReviewResult(review=answer)
            case CodeReview():
                return CodeReviewResult(review=answer)
            case Implemented():
                return await self._implemented(run, do, answer, start, tree, batch)
            case _:
                raise TypeError(f"{type(answer).__name__} is no stage's answer")

    async def _implemented(
        self, run: Run, do: Do, answer: Implemented, start: CommitId, tree: Path, batch: Batch
    ) -> ImplementResult:
        """The diff, checked and committed; what the policy refuses is in `breaches` and goes back as feedback."""
        source, base = self._parts.source, run.started.base.commit
        scratch = tree.with_name("base")
        try:
            await to_its_end(source.export, start, scratch)
            await to_its_end(self._unhide, scratch, tree)
            patch: Patch = await offload(source.diff, start, tree)
        except Refused as error:
            return ImplementResult(commit=None, summary=answer.summary, breaches=(str(error),))
        if not patch.files:
            return ImplementResult(commit=None, summary=answer.summary, breaches=("nothing was changed",))
        if start != base:
            await to_its_end(source.export, base, scratch)
        literals = await offload(_answers, batch, scratch)
        breaches = await offload(self._breaches, patch, literals)
        if breaches:
            return ImplementResult(commit=None, summary=answer.summary, breaches=breaches)
        try:
            commit = await offload(source.commit, patch, f"moss {do.key}: {answer.summary[:200]}", do.key)
            whole = patch if start == base else await offload(source.patch_between, base, commit)
        except Refused as error:
            return ImplementResult(commit=None, summary=answer.summary, breaches=(str(error),))
        # Checked against the base as well: two harmless rounds may add up to a breach.
        if breaches := await offload(self._breaches, whole, literals):
            return ImplementResult(commit=None, summary=answer.summary, breaches=breaches)
        return ImplementResult(
            commit=commit,
            diff=await offload(self._parts.store.put, whole.text, "diff", run.id),
            files=len(whole.files),
            added=sum(change.added for change in whole.files),
            removed=sum(change.removed for change in whole.files),
            summary=answer.summary,
        )

    def _breaches(self, patch: Patch, literals: tuple[str, ...]) -> tuple[str, ...]:
        policy = self._parts.settings.substrate.policy
        found = check_patch(patch, policy, literals, self._parts.secrets_in)
        return tuple(breach.says for breach in found)[:20]

    async def _prompt_parts(self, run: Run, do: Do, batch: Batch) -> PromptParts:
        """What the prompt is filled with: all of it outside text, fenced as data by the prompts."""
        iteration, substrate = run.iterations[-1], self._parts.settings.substrate
        diff = await offload(self._parts.store.get, iteration.diff) if iteration.diff else None
        return PromptParts(
            substrate=substrate.name,
            policy=substrate.policy,
            batch=batch,
            iteration=do.step.iteration,
            round=do.step.round,
            components=substrate.components,
            suspects=iteration.located.suspects if iteration.located else (),
            plan=iteration.plan,
            diff=diff or b"",
            lessons=lessons_of(run),
            feedback=feedback_of(run, do.step.stage),
        )


def _drop_others(folder: Path) -> None:
    """Folders of the run's earlier steps. This step's own stays until it is on record: the agent works in it once."""
    for other in folder.parent.iterdir() if folder.parent.is_dir() else ():
        if other != folder:
            drop_tree(other)


def starts_from(iteration: Iteration, stage: Stage) -> CommitId:
    """The commit a stage works on: the rounds' own work where there is some, else where the iteration began."""
    if stage in (Stage.IMPLEMENT, Stage.CODE_REVIEW):
        return iteration.work or iteration.start
    return iteration.start


def feedback_of(run: Run, stage: Stage) -> tuple[str, ...]:
    """What the round or the iteration before was told: reviews, policy breaches, the verdict's lines."""
    iteration = run.iterations[-1]
    lines: list[str] = []
    earlier = run.iterations[-2] if len(run.iterations) > 1 else None
    if earlier is not None and earlier.verdict is not None:
        lines += earlier.verdict.feedback
    if stage is Stage.PLAN and iteration.plan_review is not None:
        lines += _said(iteration.plan_review)
    if stage is Stage.IMPLEMENT:
        lines += iteration.breaches
        if iteration.code_review is not None:
            lines += _said(iteration.code_review)
    return tuple(lines)


def _said(review: PlanReview | CodeReview) -> list[str]:
    findings = [f"{finding.severity} {finding.where}: {finding.reason}" for finding in review.findings]
    return [line for line in (review.reason, *findings) if line]


def _answers(batch: Batch, base: Path) -> tuple[str, ...]:
    """The batch's expected answers that the base does not hold: only those can have been copied in."""
    texts = (_text(path) for path in base.rglob("*") if path.is_file() and not path.is_symlink())
    return absent_from(expected_literals(batch), texts)


def _text(path: Path) -> str:
    """The start of a source file; what a coding agent copies answers from is no larger."""
    with path.open("rb") as file:
        return file.read(1 << 20).decode("utf-8", "replace")
