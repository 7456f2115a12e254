"""The in-memory target does what a test scripts, and breaks the test that would make a second writer."""

from datetime import UTC, datetime

import pytest

from moss.domain.frozen import sha256
from moss.domain.ids import Digest, Key
from moss.errors import NoSpace, TargetDown
from moss.ports import Image, Readiness
from moss.testing.conduct import Conduct
from moss.testing.targets import Call, FakeTarget

KEY = Key("k")
OLD, NEW = (Image(Digest(sha256(name.encode())), name, None) for name in ("old", "new"))


@pytest.fixture
def target() -> FakeTarget:
    return FakeTarget([OLD, NEW], OLD.digest, now=lambda: datetime(2026, 2, 3, tzinfo=UTC), waiting_bound=1)


def start_new(target: FakeTarget, conduct: Conduct) -> None:
    target.behave(NEW.digest, conduct)
    target.stop(KEY, OLD.digest)
    target.start(KEY, NEW.digest)


def test_a_failure_before_a_step_leaves_it_undone_and_one_after_it_does_not(target: FakeTarget) -> None:
    target.fail("stop", TargetDown("away"))
    with pytest.raises(TargetDown):
        target.stop(KEY, OLD.digest)
    assert target.running == OLD.digest
    target.fail("stop", KeyboardInterrupt(), after=True)
    with pytest.raises(KeyboardInterrupt):
        target.stop(KEY, OLD.digest)
    assert target.running is None
    target.stop(KEY, OLD.digest)
    assert target.calls == [Call("stop", KEY)] * 3


def test_a_second_writer_breaks_the_test(target: FakeTarget) -> None:
    with pytest.raises(AssertionError, match="two writers"):
        target._start(NEW)


def test_a_version_gets_ready_late_never_or_not_at_all(target: FakeTarget) -> None:
    start_new(target, Conduct(ready_after=2))
    assert [target.probe().readiness for _ in range(3)] == [Readiness.STARTING] * 2 + [Readiness.READY]
    target.behave(NEW.digest, Conduct(ready_after=None))
    assert target.probe().readiness is Readiness.STARTING
    target.behave(NEW.digest, Conduct(health_fails=True))
    assert target.probe().readiness is Readiness.FAILED


def test_a_version_exits_at_the_look_or_under_the_message_that_was_scripted(target: FakeTarget) -> None:
    start_new(target, Conduct(exits_after=1, exit_code=9))
    assert target.probe().readiness is Readiness.READY
    assert target.probe().exit_code == 9
    assert target.probe() == target.probe()
    target.behave(NEW.digest, Conduct(dies_under=2))
    target.start(KEY, NEW.digest)
    assert target.send("one").answered
    assert target.send("two").status is None
    assert target.running is None
    assert target.send("three").status == 502
    assert target.state.messages == ["one"]


def test_a_watched_version_may_exit_after_it_was_ready(target: FakeTarget) -> None:
    start_new(target, Conduct(exits_after_ready=1))
    assert [target.probe().readiness for _ in range(2)] == [Readiness.READY, Readiness.FAILED]


def test_a_changed_schema_keeps_the_old_version_from_getting_ready_until_the_snapshot_is_back(
    target: FakeTarget,
) -> None:
    target.behave(NEW.digest, Conduct(migrates=True))
    target.stop(KEY, OLD.digest)
    target.snapshot(KEY, 1 << 20)
    target.start(KEY, NEW.digest)
    assert target.probe().readiness is Readiness.READY
    target.stop(KEY, NEW.digest)
    target.start(KEY, OLD.digest)
    assert target.probe().readiness is Readiness.FAILED
    target.stop(KEY, OLD.digest)
    target.restore_state(KEY)
    target.start(KEY, OLD.digest)
    assert target.probe().readiness is Readiness.READY


def test_messages_wait_are_refused_above_the_bound_and_at_the_deadline(target: FakeTarget) -> None:
    target.hold(KEY, 1.0, 1.0)
    first, second = target.send("one"), target.send("two")
    assert (first.waiting, second.status) == (True, 503)
    target.lapse()
    assert (first.status, target.held) == (503, None)
    assert target.release(KEY).refused == 2


def test_a_canary_goes_behind_the_hold_and_is_not_logged(target: FakeTarget) -> None:
    target.hold(KEY, 1.0, 1.0)
    start_new(target, Conduct(answers=False))
    assert target.turn("ping").status == 500
    target.release(KEY)
    target.turn("ping")
    assert target.answered(KEY) == ()
    target.die()
    assert target.turn("ping").status == 502


def test_a_full_disk_and_somebody_else(target: FakeTarget) -> None:
    target.free_bytes = 0
    with pytest.raises(NoSpace):
        target.prepare(NEW, KEY)
    target.replace(NEW.digest)
    assert target.current().image == NEW
    assert target.starts == [OLD.digest, NEW.digest]
