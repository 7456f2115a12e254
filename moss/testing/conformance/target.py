"""Owns the contract of `moss.ports.LiveTarget` as tests. Subclass `TargetContract` and give it `bench`.

Never looks inside an adapter: what happened is seen by a client at the front door and in the agent's state.
"""

from pathlib import Path
from typing import Protocol

import pytest

from moss.domain.frozen import sha256
from moss.domain.ids import Digest, Key
from moss.errors import BoxRefused, NotExpected, TargetError
from moss.ports import Image, LiveTarget, Readiness

KEY = Key("ev-01/swap")
LIMIT = 1 << 30


class Message(Protocol):
    """A message of a client: `status` is None until it is answered."""

    status: int | None


class TargetBench(Protocol):
    """A live target with version `old` serving; `new` is good, `dying` exits at once. What the contract must see."""

    old: Image
    new: Image
    dying: Image
    target: LiveTarget

    def reopened(self) -> LiveTarget:
        """The same target, as another controller sees it."""

    def send(self, text: str) -> Message:
        """A user's message through the front door; comes back at once."""

    def answered(self, message: Message) -> int:
        """Its status, waited for."""

    def waits(self, count: int) -> None:
        """Until so many messages wait."""

    def lapsed(self) -> None:
        """Until the hold let go by itself."""

    def drop(self, image: Image) -> None:
        """The image is deleted."""

    def kept(self) -> list[str]:
        """The messages that the agent's state holds."""

    def two_writers(self) -> bool:
        """Whether two agents were ever on the state at once."""


def ready(target: LiveTarget) -> None:
    """Until the agent is ready."""
    for _ in range(3000):
        probe = target.probe()
        if probe.readiness is Readiness.READY:
            return
        assert probe.readiness is Readiness.STARTING, probe.detail
    raise AssertionError("it never got ready")


def failed(target: LiveTarget) -> int | None:
    """Until the agent failed; its exit code."""
    for _ in range(3000):
        probe = target.probe()
        if probe.readiness is Readiness.FAILED:
            return probe.exit_code
    raise AssertionError("it never failed")


class TargetContract:
    """Give it a fixture `bench` with version `old` serving."""

    def test_what_runs_is_told(self, bench: TargetBench) -> None:
        live = bench.target.current()
        assert (live.image, live.running) == (bench.old, True)
        assert live.boot is not None
        assert live.boot == bench.target.probe().boot

    def test_a_swap_loses_nothing_and_each_step_may_be_repeated_by_another_controller(self, bench: TargetBench) -> None:
        assert bench.answered(bench.send("before")) == 200
        for target in (bench.target, bench.reopened()):
            target.prepare(bench.new, KEY)
        for target in (bench.target, bench.reopened()):
            assert target.hold(KEY, 1.0, 60.0).complete
        waiting = [bench.send("one"), bench.send("two")]
        bench.waits(2)
        for target in (bench.target, bench.reopened()):
            target.stop(KEY, bench.old.digest)
        stopped = bench.target.current()
        assert (stopped.image, stopped.running) == (bench.old, False)
        first, second = (target.snapshot(KEY, LIMIT) for target in (bench.target, bench.reopened()))
        assert first is not None
        assert first == second
        for target in (bench.target, bench.reopened()):
            target.start(KEY, bench.new.digest)
        ready(bench.target)
        boot = bench.target.current().boot
        released = bench.target.release(KEY)
        assert (released.waited, released.refused) == (2, 0)
        assert bench.reopened().release(KEY) == released
        assert [bench.answered(message) for message in waiting] == [200, 200]
        for target in (bench.target, bench.reopened()):
            target.settle(KEY)
        live = bench.target.current()
        assert (live.image, live.boot, live.running) == (bench.new, boot, True)
        assert bench.kept()[0] == "before"
        assert sorted(bench.kept()[1:]) == ["one", "two"]
        assert not bench.two_writers()

    def test_only_what_was_expected_is_stopped(self, bench: TargetBench) -> None:
        with pytest.raises(NotExpected):
            bench.target.stop(KEY, bench.new.digest)
        assert bench.target.current().running
        assert bench.answered(bench.send("still here")) == 200

    def test_no_second_agent_is_started_beside_another(self, bench: TargetBench) -> None:
        bench.target.prepare(bench.new, KEY)
        with pytest.raises(NotExpected):
            bench.target.start(KEY, bench.new.digest)
        boot = bench.target.current().boot
        bench.target.start(KEY, bench.old.digest)
        assert bench.target.current().boot == boot
        assert not bench.two_writers()

    def test_an_image_that_is_gone_is_refused_before_and_after_the_stop(self, bench: TargetBench) -> None:
        with pytest.raises(BoxRefused):
            bench.target.prepare(Image(Digest(sha256(b"never built")), "x:1", None), KEY)
        bench.target.prepare(bench.new, KEY)
        bench.drop(bench.new)
        bench.target.stop(KEY, bench.old.digest)
        with pytest.raises(BoxRefused):
            bench.target.start(KEY, bench.new.digest)
        bench.target.start(KEY, bench.old.digest)
        ready(bench.target)

    def test_an_agent_that_exits_is_seen_with_its_code_and_the_old_one_comes_back(self, bench: TargetBench) -> None:
        before = bench.target.current().boot
        bench.target.prepare(bench.dying, KEY)
        bench.target.hold(KEY, 1.0, 60.0)
        waiting = bench.send("kept waiting")
        bench.waits(1)
        bench.target.stop(KEY, bench.old.digest)
        bench.target.start(KEY, bench.dying.digest)
        assert failed(bench.target) == 7
        bench.target.stop(KEY, bench.dying.digest)
        bench.target.start(KEY, bench.old.digest)
        ready(bench.target)
        assert bench.target.current().boot != before
        assert bench.target.release(KEY).refused == 0
        assert bench.answered(waiting) == 200
        bench.target.settle(KEY)
        assert not bench.two_writers()

    def test_a_snapshot_is_taken_only_while_nobody_writes_and_not_above_its_limit(self, bench: TargetBench) -> None:
        assert bench.answered(bench.send("m")) == 200
        with pytest.raises(TargetError):
            bench.target.snapshot(KEY, LIMIT)
        bench.target.stop(KEY, bench.old.digest)
        assert bench.target.snapshot(KEY, 1) is None
        taken = bench.target.snapshot(KEY, LIMIT)
        assert taken is not None
        assert (taken.key, taken.bytes > 0) == (KEY, True)

    def test_the_snapshot_becomes_the_state_once_and_only_while_nothing_runs(self, bench: TargetBench) -> None:
        assert bench.answered(bench.send("before")) == 200
        bench.target.prepare(bench.new, KEY)
        bench.target.stop(KEY, bench.old.digest)
        bench.target.snapshot(KEY, LIMIT)
        bench.target.start(KEY, bench.new.digest)
        ready(bench.target)
        assert bench.answered(bench.send("by the new one")) == 200
        with pytest.raises(NotExpected):
            bench.target.restore_state(KEY)
        bench.target.stop(KEY, bench.new.digest)
        bench.target.restore_state(KEY)
        assert bench.kept() == ["before"]
        bench.target.start(KEY, bench.old.digest)
        ready(bench.target)
        assert bench.answered(bench.send("after")) == 200
        bench.target.stop(KEY, bench.old.digest)
        bench.reopened().restore_state(KEY)
        assert bench.kept() == ["before", "after"]

    def test_without_a_snapshot_there_is_nothing_to_restore(self, bench: TargetBench) -> None:
        bench.target.stop(KEY, bench.old.digest)
        with pytest.raises(TargetError):
            bench.target.restore_state(KEY)

    def test_a_forgotten_snapshot_is_gone_and_forgetting_again_is_silent(self, bench: TargetBench) -> None:
        bench.target.stop(KEY, bench.old.digest)
        bench.target.snapshot(KEY, LIMIT)
        bench.target.forget(KEY)
        bench.target.forget(KEY)
        with pytest.raises(TargetError):
            bench.target.restore_state(KEY)

    def test_a_hold_ends_by_itself_and_says_how_many_were_refused(self, bench: TargetBench) -> None:
        bench.target.hold(KEY, 0.1, 0.5)
        waiting = bench.send("too late")
        bench.lapsed()
        assert bench.answered(waiting) == 503
        assert bench.answered(bench.send("let in")) == 200
        released = bench.target.release(KEY)
        assert (released.waited, released.refused) == (1, 1)

    def test_a_release_without_a_hold_is_silent(self, bench: TargetBench) -> None:
        released = bench.target.release(KEY)
        assert (released.waited, released.longest_wait, released.refused) == (0, 0.0, 0)
        assert bench.answered(bench.send("m")) == 200

    def test_what_the_new_version_answered_is_named_until_the_swap_is_settled(self, bench: TargetBench) -> None:
        bench.target.prepare(bench.new, KEY)
        bench.target.hold(KEY, 1.0, 60.0)
        bench.target.stop(KEY, bench.old.digest)
        bench.target.start(KEY, bench.new.digest)
        ready(bench.target)
        assert bench.target.answered(KEY) == ()
        bench.target.release(KEY)
        assert bench.answered(bench.send("at stake")) == 200
        (line,) = bench.reopened().answered(KEY)
        assert (line.status, line.body_sha) == (200, sha256(b"at stake"))
        bench.target.settle(KEY, soaks=True)
        assert bench.answered(bench.send("still at stake")) == 200
        assert [line.body_sha for line in bench.target.answered(KEY)] == [
            sha256(b"at stake"),
            sha256(b"still at stake"),
        ]
        bench.target.settle(KEY)
        assert bench.target.answered(KEY) == ()

    def test_a_hold_that_was_let_go_untouched_leaves_no_trace(self, bench: TargetBench) -> None:
        boot = bench.target.current().boot
        bench.target.hold(KEY, 1.0, 60.0)
        bench.target.release(KEY)
        assert bench.answered(bench.send("m")) == 200
        assert bench.target.answered(KEY) == ()
        assert bench.target.current().boot == boot

    def test_a_running_agents_state_is_copied_whole(self, bench: TargetBench, tmp_path: Path) -> None:
        for text in ("one", "two"):
            assert bench.answered(bench.send(text)) == 200
        for _ in range(2):
            bench.target.state_copy(tmp_path / "copy")
            assert len((tmp_path / "copy" / "messages.jsonl").read_text().splitlines()) == 2
        assert bench.target.current().running

    def test_the_agents_own_address_answers_behind_the_hold(self, bench: TargetBench) -> None:
        bench.target.hold(KEY, 1.0, 60.0)
        host, port = bench.target.address()
        assert host
        assert 0 < port < 65536
        assert bench.target.probe().readiness is Readiness.READY
        bench.target.release(KEY)
