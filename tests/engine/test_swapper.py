"""The swap on a live target that behaves badly, with users who never stop sending."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from moss.domain.events import Outcome, StepDone, SwapResult, read_event
from moss.domain.ids import RunId
from moss.domain.run import Run
from moss.domain.swap import Phase
from moss.engine.swapper import LOOK
from moss.errors import BoxRefused, NoSpace, TargetDown, TargetError
from moss.testing.conduct import Conduct, Sent
from moss.testing.puppet import Attempt
from moss.testing.workbench import Workbench, workbench

ALL = ("case-1",)
GOOD = Conduct()


@dataclass
class Users:
    """The bench's target, with a message through the front door before every call of the swap."""

    target: Any
    sent: list[Sent] = field(default_factory=list)
    on: bool = False
    at: dict[str, Any] = field(default_factory=dict)
    """what somebody else does right before a step is called the first time"""

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.target, name)
        if not callable(found):
            return found

        def called(*args: Any, **kwargs: Any) -> Any:
            if name == "prepare":
                self.on = True
            if self.on:
                self.sent.append(self.target.send(f"m-{len(self.sent) + 1}"))
            if (act := self.at.pop(name, None)) is not None:
                act()
            return found(*args, **kwargs)

        return called


@pytest.fixture
def small(tmp_path: Path) -> Workbench:
    return workbench(tmp_path / "bench", cases=1)


@dataclass
class Swapped:
    """A swap that was played to its end."""

    bench: Workbench
    users: Users
    run: Run

    @property
    def phases(self) -> list[tuple[Phase, bool]]:
        """Each phase with whether it was ok."""
        return [(phase, result.phase.ok) for phase, result in _phases(self.bench, self.run.id)]

    @property
    def names(self) -> list[Phase]:
        return [phase for phase, _ in self.phases]


def _phases(bench: Workbench, run_id: RunId) -> Iterator[tuple[Phase, SwapResult]]:
    phase = Phase.PREPARE
    for entry in bench.store.entries(run_id):
        event = read_event(entry.event)
        if isinstance(event, StepDone) and event.swap is not None:
            phase = event.swap.phase
        if isinstance(event, StepDone) and isinstance(event.result, SwapResult) and event.turned is not None:
            yield phase, event.result
            phase = event.turned.phase


async def swap(bench: Workbench, live: Conduct = GOOD, **at: Any) -> Swapped:
    """A fix whose live version behaves so, approved; `at`: what somebody else does right before a step."""
    users = Users(bench.target, at=at)
    run = await bench.go(bench.attempts(Attempt(fixes=ALL, becomes={"live": live})).start())
    bench.approve(run.id)
    run = await bench.with_parts(target=users).go(run.id)
    return Swapped(bench, users, run)


def assert_nothing_lost(done: Swapped) -> None:
    """What was acknowledged is in the state, or the journal names it; nobody was turned away or still waits."""
    target, lost = done.bench.target, done.run.swap.lost if done.run.swap else ()
    answered = [sent.text for sent in done.users.sent if sent.answered]
    missing = [text for text in answered if text not in target.state.messages]
    assert len(missing) <= len(lost)
    assert not [sent.text for sent in done.users.sent if sent.waiting]
    assert not [sent.text for sent in done.users.sent if sent.status == 503]


def assert_old_serves(done: Swapped) -> None:
    target, run = done.bench.target, done.run
    assert target.running == run.started.base.image
    assert target.restart_policy == "always"
    assert target.held is None
    assert target.send("still there?").answered
    assert done.bench.store.verify(run.id) is None


FORWARD = [
    Phase.PREPARE, Phase.HOLD, Phase.STOP, Phase.SNAPSHOT, Phase.START, Phase.PROBE, Phase.CANARY, Phase.RELEASE,
    Phase.WATCH, Phase.SETTLE,
]  # fmt: skip
BACK = [Phase.R_STOP, Phase.R_START, Phase.R_PROBE, Phase.R_CANARY, Phase.R_RELEASE, Phase.R_SETTLE]
BACK_TO_SNAPSHOT = [
    Phase.RS_STOP, Phase.RS_STATE, Phase.RS_START, Phase.RS_PROBE, Phase.RS_CANARY, Phase.R_RELEASE, Phase.R_SETTLE,
]  # fmt: skip


async def test_a_good_swap_walks_the_timeline_and_answers_everybody(small: Workbench) -> None:
    done = await swap(small)
    assert done.run.outcome is Outcome.COMMITTED
    assert done.names == FORWARD
    assert all(ok for _, ok in done.phases)
    assert all(sent.answered for sent in done.users.sent)
    assert_nothing_lost(done)
    assert done.run.swap is not None
    assert done.run.swap.refused == 0
    assert done.run.swap.waited > 0


@pytest.mark.parametrize(
    ("live", "until", "because"),
    [
        (Conduct(exits_after=0, exit_code=7), Phase.PROBE, "exited 7"),
        (Conduct(ready_after=None), Phase.PROBE, "not ready after 0.3 s: starting"),
        (Conduct(health_fails=True), Phase.PROBE, "failed"),
        (Conduct(answers=False), Phase.CANARY, "the canary was answered with status 500, not as expected"),
        (Conduct(dies_under=1), Phase.CANARY, "it gave no answer to the canary: connection reset: no answer"),
    ],
)
async def test_a_candidate_that_is_bad_at_once_costs_one_restart_and_no_message(
    small: Workbench, live: Conduct, until: Phase, because: str
) -> None:
    done = await swap(small, live)
    assert done.run.outcome is Outcome.ROLLED_BACK
    assert done.run.because == because
    assert done.names == [*FORWARD[: FORWARD.index(until) + 1], *BACK]
    assert small.target.starts == [small.base, done.run.swap.new, small.base]  # type: ignore[union-attr]
    assert_nothing_lost(done)
    assert_old_serves(done)


@pytest.mark.parametrize(
    ("live", "because"),
    [
        (Conduct(exits_after_ready=2, exit_code=9), "exited 9"),
        (Conduct(dies_under=2), "exited 1"),
    ],
)
async def test_a_candidate_that_turns_bad_under_users_is_held_again_and_taken_back(
    small: Workbench, live: Conduct, because: str
) -> None:
    done = await swap(small, live)
    assert done.run.outcome is Outcome.ROLLED_BACK
    assert because in done.run.because
    assert done.names == [*FORWARD[:9], Phase.R_HOLD, *BACK]
    assert_nothing_lost(done)
    assert_old_serves(done)


async def test_a_changed_schema_brings_the_snapshot_back_and_names_what_is_lost(small: Workbench) -> None:
    done = await swap(small, Conduct(migrates=True, exits_after_ready=4))
    assert done.run.outcome is Outcome.ROLLED_BACK
    assert done.names == [*FORWARD[:9], Phase.R_HOLD, *BACK[:3], *BACK_TO_SNAPSHOT]
    assert done.run.swap is not None
    assert done.run.swap.lost
    assert_nothing_lost(done)
    assert_old_serves(done)
    kept = small.store.due(small.clock.now(), 100)
    rolled_back = [out.notice for out in kept if out.notice.kind == "rolled_back"]
    assert len(rolled_back) == 1
    told = [out.notice for out in kept if out.notice.body.get("lost")]
    assert [notice.body["lost"] for notice in told] == [list(done.run.swap.lost)] or rolled_back[0].body["lost"]


async def test_without_a_snapshot_a_changed_schema_takes_the_agent_down_and_calls_the_operator(
    small: Workbench,
) -> None:
    small = small.with_settings(
        swap=small.parts.settings.swap.model_copy(update={"snapshot_limit_bytes": 1, "watch_seconds": 0.1})
    )
    done = await swap(small, Conduct(migrates=True, exits_after_ready=2))
    assert done.run.outcome is Outcome.FAILED
    assert done.names[-1] is Phase.DOWN_RELEASE
    assert small.target.held is None  # nobody waits for an agent that does not come back
    kinds = [out.notice.kind for out in small.store.due(small.clock.now(), 100)]
    assert kinds.count("operator_needed") == 1


async def test_a_restart_while_it_is_watched_is_seen_by_its_boot(small: Workbench) -> None:
    users = Users(small.target)

    def started_anew() -> None:
        small.target.replace(small.target.running)  # type: ignore[arg-type]

    users.at["release"] = lambda: users.at.update(probe=started_anew)
    run = await small.go(small.attempts(Attempt(fixes=ALL)).start())
    small.approve(run.id)
    run = await small.with_parts(target=users).go(run.id)
    assert run.outcome is Outcome.ROLLED_BACK
    assert run.because == "it was started anew while it was watched"


async def test_the_last_line_of_one_that_died_is_in_the_journal_redacted(small: Workbench) -> None:
    class Talkative(Users):
        def __getattr__(self, name: str) -> Any:
            if name != "probe":
                return super().__getattr__(name)
            probe = self.target.probe()
            said = "Traceback:\n  one\nKeyError: 'order' of ada@example.com\n\n"
            return lambda: replace(probe, said=said) if probe.exit_code is not None else probe

    dies = Conduct(exits_after_ready=2)
    run = await small.go(small.attempts(Attempt(fixes=ALL, becomes={"live": dies})).start())
    small.approve(run.id)
    redacted = small.with_parts(target=Talkative(small.target), redact=lambda text: text.replace("ada@", "[who]@"))
    run = await redacted.go(run.id)
    assert (run.outcome, run.because) == (Outcome.ROLLED_BACK, "exited 1")
    said = {phase: result.phase.said for phase, result in _phases(small, run.id) if result.phase.said}
    assert said == {Phase.WATCH: "KeyError: 'order' of [who]@example.com"}
    assert all(result.performed is phase for phase, result in _phases(small, run.id))


@pytest.mark.parametrize("misses", [1, 2])
async def test_a_busy_agent_may_miss_a_look_or_two(small: Workbench, misses: int) -> None:
    from moss.ports import Probe, Readiness

    class Busy(Users):
        left = misses

        def __getattr__(self, name: str) -> Any:
            if name == "probe" and self.target.running != small.base and self.target.held is None and self.left > 0:
                self.left -= 1
                return lambda: Probe(Readiness.STARTING, None, "busy")
            return super().__getattr__(name)

    run = await small.go(small.attempts(Attempt(fixes=ALL)).start())
    small.approve(run.id)
    run = await small.with_parts(target=Busy(small.target)).go(run.id)
    assert run.outcome is Outcome.COMMITTED


# ------------------------------------------------------------------ what others do meanwhile, what the target raises


async def test_the_candidates_image_is_deleted_between_yes_and_swap(small: Workbench) -> None:
    run = await small.go(small.attempts(Attempt(fixes=ALL)).start())
    small.approve(run.id)
    assert run.statement is not None
    small.builder.remove(run.statement.candidate)
    run = await small.go(run.id)
    assert run.outcome is Outcome.FAILED
    assert "is gone" in run.because
    assert small.target.starts == [small.base]


async def test_somebody_else_replaced_the_agent_before_the_stop(small: Workbench) -> None:
    def replaced() -> None:
        other = next(image for image in small.builder.list() if image.digest != small.base)
        small.target.images[other.digest] = other
        small.target.replace(other.digest)

    done = await swap(small, stop=replaced)
    assert done.run.outcome is Outcome.STALE
    assert done.names == [Phase.PREPARE, Phase.HOLD, Phase.STOP, Phase.UNHOLD]
    assert_nothing_lost(done)


@pytest.mark.parametrize(
    ("step", "error", "names"),
    [
        ("prepare", NoSpace("the disk is full"), [Phase.PREPARE]),
        ("prepare", BoxRefused("no such image"), [Phase.PREPARE]),
        ("hold", TargetDown("the proxy does not answer"), [Phase.PREPARE, Phase.HOLD, Phase.UNHOLD]),
    ],
)
async def test_what_goes_wrong_before_the_stop_leaves_everything_untouched(
    small: Workbench, step: str, error: Exception, names: list[Phase]
) -> None:
    small.target.fail(step, error)
    done = await swap(small)
    assert done.run.outcome is Outcome.FAILED
    assert done.names == names
    assert str(error) in done.run.because
    assert small.target.starts == [small.base]
    assert_old_serves(done)
    assert_nothing_lost(done)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("stop", TargetError("the supervisor does not answer")),
        ("snapshot", NoSpace("the disk is full while the state is copied")),
        ("start", BoxRefused("the image is gone")),
        ("start", TargetError("the engine is busy")),
    ],
)
async def test_what_goes_wrong_under_the_hold_brings_the_old_one_back(
    small: Workbench, step: str, error: Exception, after: bool
) -> None:
    small.target.fail(step, error, after=after)
    done = await swap(small)
    assert done.run.outcome is Outcome.ROLLED_BACK
    assert str(error) in done.run.because
    assert_old_serves(done)
    assert_nothing_lost(done)


async def test_a_full_disk_below_the_watermark_stops_a_swap_before_it_begins(small: Workbench) -> None:
    retention = small.parts.settings.retention.model_copy(update={"free_bytes": 1 << 30})
    run = await small.go(small.attempts(Attempt(fixes=ALL)).start())
    small.approve(run.id)
    run = await small.with_settings(retention=retention).with_parts(free_bytes=lambda: 1 << 20).go(run.id)
    assert run.outcome is Outcome.FAILED
    assert "1 MiB free, 1024 MiB are kept free before a swap" in run.because
    assert small.target.starts == [small.base]


async def test_a_consent_that_runs_out_under_the_preflight_stops_the_swap(small: Workbench) -> None:
    run = await small.go(small.attempts(Attempt(fixes=ALL)).start())
    small.approve(run.id)
    await small.controller().tick(run.id)
    small.clock.tick(25 * 3600)
    run = await small.go(run.id)
    assert run.outcome is Outcome.FAILED
    assert "expired" in run.because
    assert small.target.starts == [small.base]


async def test_errors_of_phases_that_go_back_never_stop_the_way_back(small: Workbench) -> None:
    for step in ("release", "settle"):
        small.target.fail(step, TargetError("once"), times=1)
    done = await swap(small, Conduct(answers=False))
    assert done.run.outcome is Outcome.ROLLED_BACK
    assert small.target.running == small.base


def test_an_exit_is_looked_for_often_enough_to_be_seen_within_a_second() -> None:
    assert LOOK <= 0.5
