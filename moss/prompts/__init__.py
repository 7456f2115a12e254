"""Owns the prompts of the stages with a mind: which file, which slots, which schema. Never talks to a model.

Invariants: text from outside is always fenced as data (see `fence`); slots are filled once, so what was put in is
never read as a slot; a prompt stays below CHARS whatever the evidence weighs, and says what was left out.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from moss.domain.batch import Batch
from moss.domain.frozen import Frozen
from moss.domain.ids import Digest
from moss.domain.policy import KEEP, SourcePolicy
from moss.domain.results import CodeReview, Implemented, Located, Plan, PlanReview, Suspect
from moss.prompts.evidence import FOLDER as FOLDER
from moss.prompts.evidence import evidence_files as evidence_files
from moss.prompts.evidence import summary
from moss.prompts.fence import fenced, visible
from moss.prompts.files import PromptFile as PromptFile
from moss.prompts.files import fill_slots
from moss.prompts.files import load as load

LAYERS = f"Each is in full in `{FOLDER}/turns/`, as it was stored in `{FOLDER}/raw/`."

CHARS = 200_000
"""No prompt is longer: about 50,000 tokens."""

RESULTS: Mapping[str, type[Frozen]] = {
    "locate": Located,
    "plan": Plan,
    "plan_review": PlanReview,
    "implement": Implemented,
    "code_review": CodeReview,
}
"""What each stage gives back."""


@dataclass(frozen=True, slots=True)
class PromptParts:
    """What a stage's prompt is made of. `lessons`: of earlier iterations and runs; `feedback`: why this iteration's
    last plan or work was refused (policy breaches, reviews), newest last; `diff`: the change under review."""

    substrate: str
    policy: SourcePolicy
    batch: Batch
    iteration: int
    round: int = 1
    components: Mapping[str, str] = field(default_factory=dict)
    suspects: tuple[Suspect, ...] = ()
    plan: Plan | None = None
    diff: bytes = b""
    lessons: tuple[str, ...] = ()
    feedback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt ready to be sent, and the hash of its file: what the stage's result records."""

    text: str
    hash: Digest


@cache
def schema_of(stage: str) -> Mapping[str, object]:
    """The JSON Schema of a stage's result."""
    return RESULTS[stage].model_json_schema()


def render(stage: str, parts: PromptParts) -> Prompt:
    """The prompt of a stage. Raises: KeyError for a stage without a mind."""
    file = load(stage)
    schema = json.dumps(schema_of(stage), separators=(",", ":"))
    filled = {name: make(parts) for name, make in SLOTS.items() if f"[[{name}]]" in file.text}
    return Prompt(fill_slots(file.text, {**filled, "schema": f"```json\n{schema}\n```"}), file.hash)


def _task(parts: PromptParts) -> str:
    cases = len(parts.batch.cases)
    return (
        f"Substrate `{visible(parts.substrate)}`, batch `{visible(parts.batch.id)}` of {cases} "
        f"failure{'s' if cases > 1 else ''}, iteration {parts.iteration}, round {parts.round}."
    )


def _components(parts: PromptParts) -> str:
    lines = [f"- `{visible(path)}`: {' '.join(visible(what).split())}" for path, what in parts.components.items()]
    return "\n".join(lines)[:20_000] or "(none was given; look around)"


def _rules(parts: PromptParts) -> str:
    policy = parts.policy
    return "\n".join(
        [
            "## The rules of a change",
            "",
            f"- May be edited: {_patterns(policy.editable)}.",
            f"- Never touched: {_patterns(policy.protected)}; build files, CI files, `conftest.py`, settings of coding",
            "  agents, files of git and of MOSS, unless a pattern above names the file itself.",
            f"- Tests ({_patterns(policy.tests)}) may be added in new files; none is changed, deleted or skipped.",
            f"- At most {policy.max_diff_lines} lines added and removed together. Text files only; no links, no modes.",
            "- No secret, and no answer of a case written into the source: mend the cause for any input.",
            f"- Lines marked `{KEEP}` stay as they are.",
        ]
    )


def _patterns(patterns: tuple[str, ...]) -> str:
    return ", ".join(f"`{visible(pattern)}`" for pattern in patterns) or "(none)"


def _suspects(parts: PromptParts) -> str:
    lines = [f"{each.rank}. {each.path}:{each.line} {each.symbol}: {each.why}" for each in parts.suspects]
    return fenced("suspects", "\n".join(lines), 20_000) if lines else "(none)"


def _plan(parts: PromptParts) -> str:
    if parts.plan is None:
        return "(none)"
    plan = parts.plan
    lines = [f"summary: {plan.summary}", f"cause: {plan.cause}"]
    lines += [f"step {number}: {step}" for number, step in enumerate(plan.steps, 1)]
    lines += [f"file: {path}" for path in plan.files]
    lines += [f"prediction ({each.case or 'all'}): {each.says}" for each in plan.predictions]
    lines += [f"risk: {risk}" for risk in plan.risks]
    return fenced("plan", "\n".join(lines), 30_000)


def _said(name: str, texts: tuple[str, ...], limit: int) -> str:
    """Outside sentences, newest last: the oldest go first when there are too many."""
    kept: list[str] = []
    for text in reversed(texts):
        if kept and sum(map(len, kept)) + len(text) > limit:
            kept.append(f"[moss: {len(texts) - len(kept)} older ones left out]")
            break
        kept.append(f"- {text}")
    return fenced(name, "\n".join(reversed(kept)), limit) if kept else "(nothing yet)"


SLOTS: Mapping[str, Callable[[PromptParts], str]] = {
    "task": _task,
    "components": _components,
    "rules": _rules,
    "evidence": lambda parts: f"{LAYERS}\n\n{summary(parts.batch, 40_000)}",
    "suspects": _suspects,
    "plan": _plan,
    "diff": lambda parts: fenced("diff", parts.diff.decode(errors="replace"), 60_000),
    "lessons": lambda parts: _said("lessons", parts.lessons, 12_000),
    "feedback": lambda parts: _said("feedback", parts.feedback, 12_000),
}
"""Slot name -> what stands there. `ground` and `schema` are our own words."""
