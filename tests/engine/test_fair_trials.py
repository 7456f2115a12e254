"""Trials that a candidate cannot bend: invalid on purpose, told from real ones, in an easier world, in our way."""

import asyncio
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moss.domain.batch import Batch
from moss.domain.case import Grader, Keypoint, OnDivergence, World
from moss.domain.events import Outcome
from moss.domain.evidence import Chunk, Exchange, Observed
from moss.domain.ids import BatchId, FailureId, RunId
from moss.domain.run import Run
from moss.domain.trial import Answer, WorldKind
from moss.errors import BoxLost
from moss.gateway.canonical import canonical_digest
from moss.gateway.recording import dump
from moss.gateway.script import Fault, Script, ScriptRule
from moss.gateway.wire import Asked, Said
from moss.ports import BoxRole, MountName
from moss.testing.conduct import Conduct
from moss.testing.puppet import Attempt
from moss.testing.workbench import Workbench, workbench

ALL = ("case-1", "case-2", "case-3")
BREAKS = Script(rules=(ScriptRule(pattern="too much", fault=Fault(status=503)), ScriptRule(text="ok")))


def of_candidate(run: Run) -> list[Any]:
    return [one for one in run.trials if one.version != run.started.base.image]


async def ended(bench: Workbench, run: RunId) -> Run:
    if (await bench.go(run)).outcome is None:
        bench.approve(run)
        await bench.go(run)
    return bench.run(run)


# ------------------------------------------------------------------ invalid on purpose


async def test_a_candidate_that_brings_the_model_down_never_converges(tmp_path: Path) -> None:
    bench = workbench(tmp_path, model=BREAKS)
    run = await bench.whole(*[Attempt(fixes=ALL, becomes={"trial": Conduct(asks="too much")})] * 3)
    assert run.outcome is Outcome.NO_IMPROVEMENT
    assert not any(one.valid for one in of_candidate(run))
    assert run.iterations[0].verdict is not None
    told = run.iterations[0].verdict.feedback
    assert any("gave no result, and with the version before this change they do" in line for line in told)
    assert run.iterations[0].verdict.numbers.invalid == 12
    assert run.iterations[0].verdict.numbers.invalid_live == 0


async def test_a_model_that_is_down_for_both_ends_no_candidate(tmp_path: Path) -> None:
    """The upstream fails for a while: the live version is tried beside it, and both are tried again."""
    down = {"now": False}
    bench = workbench(tmp_path, cases=1, model=SometimesDown(down))
    run = bench.attempts(Attempt(fixes=("case-1",))).start()
    while (step := bench.run(run).next) is not None and step.stage != "trial":
        await bench.controller().tick(run)
    down["now"] = True
    await bench.controller().tick(run)  # the candidate's wave, then the live version's beside it
    await bench.controller().tick(run)
    down["now"] = False
    assert (await ended(bench, run)).outcome is Outcome.COMMITTED


class SometimesDown(Script):
    """A scripted model without a rule while it is down: the gateway's own fault."""

    def __init__(self, down: dict[str, bool]) -> None:
        super().__init__(rules=(ScriptRule(text="ok"),))
        object.__setattr__(self, "_down", down)

    def __getattribute__(self, name: str) -> Any:
        if name == "rules" and object.__getattribute__(self, "_down")["now"]:
            return ()
        return super().__getattribute__(name)


class Asks:
    """A turn driver that is asked in the box, and what happens there."""

    def __init__(self, bench: Workbench, does: Callable[[Any, Any], Answer | None]) -> None:
        self._bench, self._does = bench, does

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bench.parts.turns, name)

    def send(self, place: Any, session: str, message: str, seconds: float) -> Answer:
        answer: Answer = self._bench.parts.turns.send(place, session, message, seconds)
        return self._does(place, session) or answer


async def test_a_command_in_a_box_that_ended_by_itself_has_failed_and_is_no_lost_box(bench: Workbench) -> None:
    def gone(place: Any, session: str) -> None:
        if place.box is not None and "/it/" in place.box.key:
            bench.boxes.stop(place.box, 0.0)  # by the candidate: how it ended is known
            raise BoxLost("the box has ended")

    parts = replace(bench.parts, turns=Asks(bench, gone))
    run = bench.attempts(Attempt(fixes=ALL)).start()
    await replace(bench, parts=parts).go(run)
    tried = of_candidate(bench.run(run))
    assert tried
    assert all(one.valid and not one.passed for one in tried)


# ------------------------------------------------------------------ what it leaves


def graded(bench: Workbench) -> Batch:
    """The bench's batch, each case with a grader, under another id."""
    grader = Keypoint(
        id="graded",
        says="the grader is content",
        check=Grader(name="g", argv=("check", "{root}/first")),
        positive=True,
        observed=Observed.GRADER,
    )
    cases = tuple(
        one.model_copy(update={"keypoints": (*one.keypoints, grader)})
        for one in (*bench.batch.cases, *bench.batch.guards)
    )
    return resealed(bench, cases[:3], cases[3:])


def resealed(bench: Workbench, cases: Any, guards: Any) -> Batch:
    """A second batch, over failures of its own."""
    others = tuple(one.model_copy(update={"source": FailureId(f"other-{one.source}")}) for one in cases)
    batch = bench.batch.model_copy(update={"id": BatchId("b-02"), "cases": others, "guards": guards})
    bench.store.seal(batch)
    bench.batch = batch
    return batch


async def test_a_state_that_nobody_can_look_at_fails_its_trial_with_the_reason(bench: Workbench) -> None:
    graded(bench)

    def sparse(place: Any, session: str) -> None:
        if place.box is not None and place.box.role is BoxRole.TRIAL and "/it/" in place.box.key:
            with open(state_of(bench, place.box.key) / "endless", "wb") as file:
                file.truncate(1 << 40)

    parts = replace(bench.parts, turns=Asks(bench, sparse))
    run = bench.attempts(Attempt(fixes=ALL)).start()
    await replace(bench, parts=parts).go(run)
    after = bench.run(run)
    tried = of_candidate(after)
    assert tried
    assert all(one.valid and not one.passed for one in tried)
    marks = {mark.because for one in tried for mark in one.marks if mark.keypoint == "graded"}
    assert marks == {"the trial left more bytes than trials.state_bytes allows, at endless"}
    live = [one for one in after.trials if one.version == bench.base and one.case.startswith("guard")]
    assert all(one.passed for one in live)


def state_of(bench: Workbench, key: str) -> Path:
    spec = next(spec for spec in reversed(bench.boxes.launched) if spec.key == key)
    return next(mount.source for mount in spec.mounts if mount.name is MountName.STATE)


async def test_a_state_that_the_evidence_source_cannot_read_has_no_turn_and_ends_no_run(bench: Workbench) -> None:
    from moss.errors import UserError

    class Unreadable:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.parts.evidence, name)

        def turns(self, root: Path, session: str | None = None) -> Any:
            raise UserError("cannot be read")

    run = bench.attempts(Attempt(fixes=ALL)).start()
    await bench.with_parts(evidence=Unreadable()).go(run)
    assert bench.run(run).statement is not None


async def test_read_only_folders_of_a_trial_are_dropped(bench: Workbench) -> None:
    def locks(place: Any, session: str) -> None:
        if place.box is not None and place.box.role is BoxRole.TRIAL:
            kept = state_of(bench, place.box.key) / "kept"
            kept.mkdir()
            (kept / "file").touch()
            kept.chmod(0o500)

    parts = replace(bench.parts, turns=Asks(bench, locks))
    run = bench.start()
    await replace(bench, parts=parts).controller().tick(run)
    work = bench.parts.settings.home / "work" / run
    assert list(work.rglob("kept")) == []


# ------------------------------------------------------------------ names


async def test_a_trial_is_called_like_the_sessions_of_its_users_and_alike_for_both_versions(bench: Workbench) -> None:
    named: dict[str, str] = {}

    def note(place: Any, session: str) -> None:
        if place.box is not None and place.box.role is BoxRole.TRIAL:
            named[place.box.key] = session

    parts = replace(bench.parts, turns=Asks(bench, note))
    run = bench.attempts(Attempt(fixes=ALL)).start()
    await replace(bench, parts=parts).go(run)
    assert all(re.fullmatch(r"s-(case|guard)-[1-9]", name) for name in named.values())
    live = {key.split("/")[3::2][0] + key[-1]: name for key, name in named.items() if "/live/" in key}
    new = {key.split("/")[3::2][0] + key[-1]: name for key, name in named.items() if "/it/" in key}
    assert new
    assert live == new


async def test_a_canary_is_called_like_a_user_and_is_no_evidence(bench: Workbench) -> None:
    from moss.engine.own_sessions import own_sessions

    asked: list[str] = []

    def note(place: Any, session: str) -> None:
        if place.box is None or place.box.role is BoxRole.PREFLIGHT:
            asked.append(session)

    parts = replace(bench.parts, turns=Asks(bench, note))
    run = bench.attempts(Attempt(fixes=ALL)).start()
    other = replace(bench, parts=parts)
    assert (await ended(other, run)).outcome is Outcome.COMMITTED
    assert len(asked) == 2
    assert all(re.fullmatch(r"s-case-[0-9]{12,13}", name) for name in asked)
    assert own_sessions(bench.parts) == {asked[1], "moss-doctor"}


async def test_trial_and_preflight_are_told_the_same(bench: Workbench) -> None:
    run = bench.attempts(Attempt(fixes=ALL)).start()
    await ended(bench, run)

    def told(role: BoxRole) -> set[str]:
        return set(next(spec for spec in bench.boxes.launched if spec.role is role).env)

    assert told(BoxRole.TRIAL) == told(BoxRole.PREFLIGHT)


# ------------------------------------------------------------------ the same world


def spoke(message: str) -> bytes:
    """A recording in which the puppet asked once, what it was asked."""
    body = f'{{"model": "m", "messages": [{{"role": "user", "content": "{message}"}}]}}'.encode()
    path = "/v1/chat/completions"
    from moss.testing.clock import ManualClock

    return dump(
        [
            Exchange(
                ordinal=1,
                at=ManualClock().now(),
                upstream="main",
                path=path,
                request=body,
                canonical=canonical_digest(path, body),
                status=200,
                chunks=(Chunk(data=b"{}"),),
            )
        ]
    )


def speaks(asked: Asked) -> Said:
    return Said("ok")


async def test_a_candidate_that_leaves_the_recording_is_held_against_the_live_version_with_a_real_model(
    tmp_path: Path,
) -> None:
    bench = workbench(tmp_path, model=speaks)

    def recorded(one: Any) -> Any:
        recording = bench.store.put(spoke(one.turn.user), "recording")
        return one.model_copy(update={"world": World(recording=recording, on_divergence=OnDivergence.LIVE)})

    resealed(bench, tuple(map(recorded, bench.batch.cases)), tuple(map(recorded, bench.batch.guards)))
    run = await bench.whole(Attempt(fixes=ALL, becomes={"trial": Conduct(asks="another thing")}), depth="standard")
    assert run.outcome is Outcome.COMMITTED
    live = [one for one in run.trials if one.version == run.started.base.image]
    baseline = [one for one in live if one.live_from is None]
    beside = [one for one in live if one.live_from is not None]
    assert {one.world for one in baseline} == {WorldKind.REPLAYED}
    assert {(one.live_from, one.world) for one in beside} == {(1, WorldKind.LIVE)}
    assert {one.case for one in beside} == set(ALL)
    assert run.verdict is not None
    assert run.verdict.numbers.p is not None
    assert run.verdict.numbers.p < 0.05


# ------------------------------------------------------------------ cancelled


async def test_a_cancelled_step_waits_for_its_work_on_folders(bench: Workbench) -> None:
    begun, may_end, ended_at = threading.Event(), threading.Event(), []

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.parts.source, name)

        def export(self, commit: Any, into: Path) -> None:
            begun.set()
            may_end.wait(10)
            bench.parts.source.export(commit, into)
            ended_at.append(into.name)

    run = bench.start()
    await bench.controller().tick(run)
    task = asyncio.create_task(bench.with_parts(source=Slow()).controller().drive(run))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    claim = bench.store.claim(run, "another", 30.0)
    assert claim is None, "the claim is kept while a thread still writes"
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(ended_at) == 1
    assert ended_at[0] != "tree.half"
    assert bench.store.claim(run, "another", 30.0) is not None


def test_two_attempts_that_lay_out_the_same_tree_end_with_one(bench: Workbench) -> None:
    from moss.engine.stages import Minds

    minds = Minds(bench.parts, None)  # type: ignore[arg-type]
    tree = bench.parts.settings.home / "work" / "ev-01" / "step" / "tree"
    both = threading.Barrier(2)

    class Together:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.parts.source, name)

        def export(self, commit: Any, into: Path) -> None:
            bench.parts.source.export(commit, into)
            both.wait(10)

    minds = Minds(replace(bench.parts, source=Together()), None)  # type: ignore[arg-type]
    commit = bench.desk.base().commit
    errors: list[BaseException] = []

    def lay() -> None:
        try:
            minds._lay_out(commit, tree)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=lay) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert errors == []
    assert [path.name for path in tree.parent.iterdir()] == ["tree"]
