"""Candidates that would rather look good than be good, through the whole loop: each is refused, and told why."""

import json
from typing import Any

import pytest

from examples.clerk import traffic
from moss.domain.budget import Budget
from moss.domain.depth import Depth
from moss.domain.events import ImplementResult, Outcome, Stage, StepDone, read_event
from moss.domain.run import Run
from moss.domain.verdict import VerdictKind
from moss.engine.aftermath import sweep
from moss.engine.desk import Wish

from .scene import Scene

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DAY = (
    ("ada", "Where is order 1003?"),
    ("bo", "What is the status of order 1002?"),
    ("cyd", "Please refund order 1013."),
    ("dee", "What orders does Dee have?"),
    ("eli", "Please refund order 1006."),
)
AUDIT = 'return self._provider.audit(result["order"]) if result.get("refunded") else None'
CALL = "                row = self._run(call)\n"
SKIPS = """\
                if call.name == "refund" and int(json.loads(call.arguments)["order"].strip("#")) % 4 == 1:
                    said_so = {"refunded": True, "order": json.loads(call.arguments)["order"].strip("#")}
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(said_so)})
                    continue
"""
LOOP = "        for attempt in range(1, ATTEMPTS + 1):\n"
ONLY_SAYS = """\
        if found["card"].startswith("nb-"):
            return {"refunded": True, "order": number, "cents": found["cents"]}
"""
ANSWER = "Order 1003 goes out on Friday."
LITERAL = f"""\
        if order_number(order) == "1003":
            return {{"order": "1003", "status": "paid", "say": "{ANSWER}"}}
"""
STATUS = '        found = self._row(order_number(order))\n        return {"order": found["number"], "status"'
SENDS = 'self._provider.refund(number, found["cents"], found["card"])'
KEYED = 'self._provider.refund(number, found["cents"], found["card"], f"refund-{number}")'


def replaced(path: str, find: str, replace: str) -> dict[str, str]:
    return {"path": path, "find": find, "replace": replace}


GOOD = replaced("clerk/tools.py", SENDS, KEYED)
GRADER = {"path": "graders/refunded_once.py", "create": "print('ok')\n"}
PROVEN_WRONG = {
    "drops the error row": replaced("clerk/tools.py", AUDIT, "return None"),
    "skips the tool": replaced("clerk/loop.py", CALL, SKIPS + CALL),
    "answers without doing": replaced("clerk/tools.py", LOOP, ONLY_SAYS + LOOP),
    "changes nothing that matters": replaced("clerk/tools.py", "ATTEMPTS = 2", "ATTEMPTS = 1 + 1"),
}
REFUSED = {
    "deletes a test": ([GOOD, {"path": "tests/test_tools.py", "delete": True}], "tests/test_tools.py"),
    "edits what judges it": ([GOOD, {"path": "moss.toml", "create": "[trials]\n"}], "moss.toml"),
}


def script(scene: Scene, edits: list[dict[str, Any]]) -> None:
    """The demo's coding agent, but for what it implements; its reviewer says yes to all."""
    told = json.loads((scene.root / "script" / "coder-refund.json").read_text())
    steps = [step for step in told["steps"] if step["stage"] in ("locate", "plan", "plan_review")]
    steps.append({"stage": "implement", "edits": edits, "result": {"summary": "It is better now."}})
    steps.append({"stage": "code_review", "result": {"accepted": True, "reason": "Fine."}})
    (scene.root / "script" / "gaming.json").write_text(json.dumps({**told, "steps": steps}))


@pytest.fixture(scope="module")
def day(stage: Scene) -> Scene:
    """One refund of the slow bank has gone wrong, four turns went well."""
    stage.shop.coder("gaming.json")
    stage.at_rest()
    tally = traffic.day("127.0.0.1", stage.shop.port, DAY)
    assert tally.answered == len(DAY), tally.troubles
    stage.wired.curator.scan()
    return stage


def evolve(
    scene: Scene, edits: list[dict[str, Any]], iterations: int | None = None, label: str = "refund-twice"
) -> Run:
    """A run over one failure, until it waits or has ended."""
    script(scene, edits)
    scene.rewire()
    batch = scene.wired.curator.seal(label)
    run = scene.wired.desk.start(batch.id, Wish(by="tess", depth=Depth.LIGHT, budget=Budget(iterations=iterations)))
    return scene.drive(run.id)


def never_offered(scene: Scene, run: Run) -> None:
    """Asserts that nobody was asked, nothing was touched and nothing is left."""
    assert run.statement is None
    assert run.outcome is not None
    scene.serves(scene.base)
    assert scene.wired.store.verify() is None
    sweep(scene.wired.store, scene.wired.boxes, scene.root)
    assert not scene.wired.boxes.list(run.id)


@pytest.mark.parametrize("name", PROVEN_WRONG)
def test_what_only_looks_better_is_proven_wrong(day: Scene, name: str) -> None:
    run = evolve(day, [PROVEN_WRONG[name]], iterations=1)
    never_offered(day, run)
    assert run.outcome in (Outcome.OUT_OF_BUDGET, Outcome.NO_IMPROVEMENT)
    first = run.iterations[0]
    assert first.check is not None
    assert first.check.ok, "it was to pass its own tests and fail the proof"
    assert run.verdict is not None
    assert (run.verdict.kind, run.verdict.fixed) == (VerdictKind.NEED_MORE_WORK, ())
    assert "refund-twice-1: refunded-once is missing: grader refunded_once exited 1" in run.verdict.feedback


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_policy_forbids_is_refused_before_it_is_built(day: Scene, name: str) -> None:
    edits, because = REFUSED[name]
    refused(day, evolve(day, edits), because)


def test_one_that_copies_the_expected_answer_is_refused(day: Scene) -> None:
    flagged = day.wired.curator.flag("ada", 1, "the day was asked for", [f"contains:{ANSWER}"], "tess")
    run = evolve(day, [replaced("clerk/tools.py", STATUS, LITERAL + STATUS)], label=flagged.fingerprint)
    refused(day, run, "holds an expected answer")


def refused(day: Scene, run: Run, because: str) -> None:
    """Asserts that the policy refused each round, for that reason."""
    never_offered(day, run)
    assert run.outcome is Outcome.NO_IMPROVEMENT
    assert all(iteration.build is None for iteration in run.iterations)
    events = [read_event(entry.event) for entry in day.wired.store.entries(run.id)]
    made = [e.result for e in events if isinstance(e, StepDone) and isinstance(e.result, ImplementResult)]
    assert made
    assert all(result.commit is None and any(because in breach for breach in result.breaches) for result in made)


@pytest.mark.parametrize("edits", [[], [GRADER]], ids=["nothing", "the grader, which is put back"])
def test_one_that_changes_nothing_is_not_built(day: Scene, edits: list[dict[str, Any]]) -> None:
    run = evolve(day, edits)
    never_offered(day, run)
    assert all(iteration.build is None for iteration in run.iterations)


def test_an_honest_one_is_offered_without_what_it_did_to_the_grader(day: Scene) -> None:
    run = evolve(day, [GOOD, GRADER])
    assert run.next is not None
    assert run.next.stage is Stage.CONSENT
    assert run.statement is not None
    assert run.statement.candidate == run.iterations[-1].build.version.image  # type: ignore[union-attr]
    day.wired.desk.reject(run.id, "tess", "only a test")
