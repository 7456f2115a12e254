"""What was live before comes back: with one command, or by itself when the soak finds the new one worse."""

from datetime import UTC, datetime, timedelta

import pytest

from examples.clerk import traffic
from moss.domain.events import Outcome, Stage
from moss.domain.run import Run
from moss.domain.swap import Phase
from moss.errors import Refused
from moss.wiring import SystemClock

from . import mischief
from .mischief import SEEN, UNSEEN, edits
from .scene import REFUNDED_TWICE, Candidate, Scene, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


SLOW_BANK = ("1001", "1005", "1009", "1013", "1017", "1021")


class LaterClock(SystemClock):
    """The machine's clock, so much later."""

    def __init__(self, later: timedelta) -> None:
        self._later = later

    def now(self) -> datetime:
        return datetime.now(UTC) + self._later


def committed(scene: Scene, does: str = mischief.GOOD) -> tuple[Run, Candidate]:
    candidate = scene.candidate(edits(does))
    run = scene.drive(scene.approved(candidate).id)
    assert run.outcome is Outcome.COMMITTED, run.because
    return run, candidate


def say(scene: Scene, session: str, message: str) -> str:
    answer = traffic.send("127.0.0.1", scene.shop.port, session, message, 20)
    assert answer.status == 200, answer
    return answer.text


def test_rollback_brings_the_old_version_back_and_conversations_go_on(scene: Scene) -> None:
    run, candidate = committed(scene)
    say(scene, "ada-talks", "Where is order 1003? (message ada-1)")
    with scene.customers() as steady:
        scene.wired.desk.rollback(None, "op", "odd answers")
        run = scene.drive(run.id)
    assert run.outcome is Outcome.REVERTED
    scene.unharmed(run, steady.tally())
    say(scene, "ada-talks", "Thank you. (message ada-2)")
    history = (scene.shop.state / "sessions" / "ada-talks.jsonl").read_text().splitlines()
    assert ['"ordinal":1' in history[0], '"ordinal":2' in history[1]] == [True, True]
    performed = dict(scene.phases(run.id))
    assert performed[Phase.CANARY].ok
    with pytest.raises(Refused, match="nothing to take back"):
        scene.wired.desk.rollback(None, "op", "again")
    with pytest.raises(Refused, match=f"{run.id} has nothing to take back: it ended reverted"):
        scene.wired.desk.rollback(run.id, "op", "again")
    assert candidate.image.digest != scene.wired.target.current().image.digest


def test_a_rollback_to_a_version_that_does_not_start_leaves_the_committed_one_serving(scene: Scene) -> None:
    """The committed one has changed the schema: the old one exits on it, and nothing that was answered is lost."""
    run, candidate = committed(scene, mischief.MIGRATES)
    with scene.customers() as steady:
        scene.wired.desk.rollback(run.id, "op", "odd answers")
        run = scene.drive(run.id)
    scene.ended(run, Outcome.COMMITTED, "exited 3")
    scene.serves(candidate.image)
    tally = steady.tally()
    assert (tally.refused, tally.failed, tally.lost, scene.gone(run, tally)) == (0, 0, 0, [])
    scene.start_over()


@pytest.fixture
def soaking(scene: Scene) -> Scene:
    """Runs that are started from now on soak for an hour."""
    scene.rewire(swap__soak_hours=1)
    return scene


def into_soak(scene: Scene, does: str, when: str = SEEN) -> Run:
    run = scene.drive(scene.approved(scene.candidate(edits(does, when))).id)
    assert run.outcome is None
    assert run.next is not None
    assert run.next.stage is Stage.SOAK
    return run


def later(scene: Scene, **by: float) -> None:
    scene.rewire(clock=LaterClock(timedelta(**by)), swap__soak_hours=1)


def test_a_version_that_soaked_well_is_committed_and_named_in_git(soaking: Scene) -> None:
    run = into_soak(soaking, mischief.GOOD)
    later(soaking, minutes=30)
    assert soaking.drive(run.id).outcome is None
    later(soaking, minutes=61)
    run = soaking.drive(run.id)
    soaking.ended(run, Outcome.COMMITTED, "soak over")
    assert run.iteration is not None
    assert soaking.wired.source.resolve("moss/live") == run.iteration.work


def test_rollback_while_in_soak(soaking: Scene) -> None:
    run = into_soak(soaking, mischief.GOOD)
    with soaking.customers() as steady:
        soaking.wired.desk.rollback(None, "op", "odd answers")
        run = soaking.drive(run.id)
    assert run.outcome is Outcome.REVERTED
    soaking.unharmed(run, steady.tally())


def calm_day(scene: Scene) -> None:
    """What the soak compares with: turns that went well, on an empty shop."""
    scene.start_over()
    with scene.customers() as steady:
        wait_until(lambda: steady.tally().answered > 20, 20)
    scene.wired.curator.scan()


def fails_again(scene: Scene, run: Run) -> None:
    """The batch's failure comes back on real traffic: a refund for each order of the slow bank."""
    for order in SLOW_BANK:
        say(scene, f"angry-{run.id}-{order}", f"Please refund order {order}")
        wait_until(lambda order=order: REFUNDED_TWICE.replace("1005", order) in _sessions(scene), 5)  # type: ignore[misc]
    scene.wired.curator.scan()


def _sessions(scene: Scene) -> str:
    return "".join(path.read_text() for path in (scene.shop.state / "sessions").glob("*.jsonl"))


def test_a_soak_that_sees_the_failure_come_back_takes_the_version_back(soaking: Scene) -> None:
    calm_day(soaking)
    run = into_soak(soaking, mischief.GOOD)
    fails_again(soaking, run)
    later(soaking, seconds=31)
    with soaking.customers() as steady:
        run = soaking.drive(run.id)
    soaking.ended(run, Outcome.ROLLED_BACK, "the failure came back in 6 of")
    soaking.unharmed(run, steady.tally())


def test_a_soak_that_ends_on_the_snapshot_names_all_that_was_answered_since(soaking: Scene) -> None:
    """The new one has changed the schema and is worse: the old one does not read its state."""
    calm_day(soaking)
    run = into_soak(soaking, mischief.MIGRATES, UNSEEN)
    with soaking.customers() as steady:
        wait_until(lambda: steady.tally().answered > 20, 20)
    fails_again(soaking, run)
    later(soaking, seconds=31)
    run = soaking.drive(run.id)
    soaking.ended(run, Outcome.ROLLED_BACK, "the failure came back in 6 of")
    soaking.serves(soaking.base)
    assert len(soaking.gone(run, steady.tally())) > 20


def test_a_version_that_ends_by_itself_in_the_soak_is_started_again_as_the_old_one_was(soaking: Scene) -> None:
    run = into_soak(soaking, mischief.GOOD)
    boot = soaking.wired.target.current().boot
    soaking.kill_agent()
    wait_until(lambda: soaking.wired.target.current().boot not in (boot, None), 10)
    soaking.until_ready()
    assert run.statement is not None
    assert soaking.wired.target.current().image.digest == run.statement.candidate
