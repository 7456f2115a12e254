"""All stages of a run with boxes that are containers, beside a live agent that is a process of the host."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.clerk import traffic
from moss.config import DockerBoxes
from moss.domain.events import Outcome, Stage
from moss.engine.desk import Wish
from moss.engine.journal import load
from moss.ports import BoxRole

from .scene import Scene, left_of, wait_until

pytestmark = [pytest.mark.needs("docker"), pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("docker")]

IN_CONTAINERS = '[gateway]\n -> [boxes]\nkind = "docker"\n\n[gateway]\n'


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "shop", IN_CONTAINERS, python="python3")
    # a container takes longer than a process where a machine is busy, and late is failed
    scene.rewire(live__start_seconds=20)
    yield scene
    boxes = scene.wired.boxes
    scene.close()
    boxes.close()  # type: ignore[attr-defined]
    wait_until(lambda: not left_of(scene.root), 10)


@pytest.mark.timeout(600)
def test_a_process_is_evolved_by_trials_in_containers(scene: Scene) -> None:
    """The same words start the agent here and there; its graders, its coder and its own tests run inside, too."""
    assert isinstance(scene.wired.settings.boxes, DockerBoxes)
    tally = traffic.day("127.0.0.1", scene.shop.port)
    assert tally.answered == len(traffic.DAY), tally.troubles
    scene.wired.curator.scan()
    batch = scene.wired.curator.seal("refund-twice")
    run = scene.wired.desk.start(batch.id, Wish(by="e2e"))
    asyncio.run(scene.wired.controller.drive(run.id))
    offered = load(scene.wired.store, run.id)
    bad = [mark.because for trial in offered.trials if not trial.passed for mark in trial.marks if mark.because]
    assert offered.next is not None, (offered.because, bad)
    assert offered.next.stage is Stage.CONSENT
    marks = [mark for trial in offered.trials for mark in trial.marks if mark.keypoint == "refunded-once"]
    assert {mark.level.name for mark in marks} == {"MISSING", "STRONG"}, "the grader saw both versions' states"
    assert all(trial.valid for trial in offered.trials), [trial.invalid_because for trial in offered.trials]
    assert any(trial.changed_lines_ran for trial in offered.trials), "the lines that ran were told from inside"
    assert {box.role for box in scene.wired.boxes.list(run.id)} == {BoxRole.CODER}, "what the journal still needs"
    assert offered.statement is not None
    scene.wired.desk.approve(scene.key.sign(offered.statement))
    ended = scene.drive(run.id)
    assert ended.outcome is Outcome.COMMITTED, ended.because
    again = traffic.send("127.0.0.1", scene.shop.port, "new-1", "Please refund order 1007.")
    assert again.status == 200
    assert scene.wired.store.verify() is None
