"""A repair that mends every failure of its batch and breaks normal turns: only the guards see it (issue 35592)."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.clerk.workshop import Workshop
from examples.hermes import prepare
from examples.hermes.demo import HermesDemo
from moss.domain.events import Outcome
from moss.domain.ids import RunId

from .scene import wait_until

pytestmark = [
    pytest.mark.needs("docker"),
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.xdist_group("docker"),
    pytest.mark.timeout(2400),
]
DAY = (
    ("ann", "Hello!"),
    ("ann", "Please make a note on kiwi: ripe on Monday"),
    ("bob", "Please start an empty page on plums"),
    ("bob", "Please count to 3"),
    ("cyd", "Please start an empty page on figs"),
    ("dee", "Thank you"),
    ("ann", "Please write the report on kiwi"),
    ("eli", "Please write the report on figs"),
    ("bob", "Please write the report on plums"),
)
"""The last message of a session is the one that fails: what comes behind it is asked together with it."""


class Trap(HermesDemo):
    """Hermes 0.17.0 with a provider that says a call's arguments again from the beginning with each piece."""

    version = "0.17.0"

    def _lay_out(self, folder: Path, approvers: str) -> Workshop:
        shop = super()._lay_out(folder, approvers)
        text = shop.toml.read_text()
        for old, new in (
            ("script/model.json", "script/model-growing.json"),
            ('kind = "hermes" }', 'kind = "hermes", settled_seconds = 1 }'),
        ):
            text = text.replace(old, new)
        shop.toml.write_text(text)
        return shop

    def day(self) -> None:
        """Every message is sent; some fail, which is what the day is for."""
        for session, message in DAY:
            self.line.say(session, message)


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Trap]:
    prepare.prepare(version=Trap.version)
    trap = Trap(tmp_path / uuid.uuid4().hex[:8])
    yield trap
    trap.down()


def test_the_naive_repair_of_growing_streams_mends_its_failures_and_is_stopped_by_the_guards(
    trap: Trap, capsys: pytest.CaptureFixture[str]
) -> None:
    trap.start()
    trap.day()
    wait_until(lambda: trap.wired.curator.scan().failures == 3, 30)
    trap.evidence()
    run = trap.run(RunId("ev-01"), "empty-reply", "coder-naive.json")
    shown = capsys.readouterr().out
    assert run.outcome is Outcome.NO_IMPROVEMENT, (run.because, shown)
    assert run.statement is None, "nobody was ever asked for a yes"
    assert run.baseline is not None
    assert len(run.baseline.reproduced) == 3
    image = run.iterations[0].build.version.image  # type: ignore[union-attr]
    tried = [trial for trial in run.trials if trial.valid and trial.version == image]
    failures = {trial.passed for trial in tried if not trial.case.startswith("guard")}
    assert failures == {True}, "every failure of its batch is mended"
    broken = {trial.case for trial in tried if trial.case.startswith("guard") and not trial.passed}
    assert broken, "and normal turns are not what they were"
    assert trap.wired.target.current().image.digest == run.started.base.image
