"""The preflight: on a copy of the state, nothing live touched, nothing left."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moss.domain.events import Outcome, Stage
from moss.domain.ids import RunId
from moss.engine.places import step_folder
from moss.errors import BoxLost, BoxRefused, GatewayDown, NoSpace
from moss.gateway.wire import Asked, Said
from moss.ports import BoxRole, BoxSpec, MountName, Place, Probe, Readiness
from moss.testing.puppet import Attempt, kept_turns
from moss.testing.workbench import Workbench, workbench

FIX = Attempt(fixes=("case-1",))
SHORT = 0.1
"""seconds of a watch"""


@pytest.fixture
def small(tmp_path: Path) -> Workbench:
    return workbench(tmp_path / "bench", cases=1).attempts(FIX)


async def approved(bench: Workbench) -> RunId:
    run = (await bench.go(bench.start())).id
    bench.approve(run)
    return run


def preflights(bench: Workbench) -> list[BoxSpec]:
    return [spec for spec in bench.boxes.launched if spec.role is BoxRole.PREFLIGHT]


async def test_it_runs_the_candidate_on_a_copy_and_leaves_nothing(small: Workbench) -> None:
    small.target.send("a user's message")
    run = await approved(small)
    await small.controller().tick(run)
    (spec,) = preflights(small)
    statement = small.run(run).statement
    assert statement is not None
    assert spec.image is not None
    assert spec.image.digest == statement.candidate
    state = next(mount.source for mount in spec.mounts if mount.name is MountName.STATE)
    assert state != small.target.evidence_root()
    assert not step_folder(small.parts.settings.home, run, spec.key).exists()
    assert not [box for box in small.boxes.list() if box.role is BoxRole.PREFLIGHT]
    assert small.target.starts == [small.base]
    assert not kept_turns(small.target.evidence_root())  # the canary never reached the live state
    assert small.target.state.messages == ["a user's message"]


async def test_it_has_the_settings_of_the_live_agent_with_outward_effects_off(tmp_path: Path) -> None:
    from moss.testing.workbench import bench_settings

    live = bench_settings(tmp_path / "bench").live.model_copy(
        update={"env": {"TOKEN": "{token}", "MAIL": "on"}, "preflight_env": {"MAIL": "off"}}
    )
    bench = workbench(tmp_path / "bench", cases=1, live=live).attempts(FIX)
    await bench.controller().tick(await approved(bench))
    (spec,) = preflights(bench)
    assert spec.argv == live.argv
    assert spec.env["MAIL"] == "off"
    trials = [one for one in bench.boxes.launched if one.role is BoxRole.TRIAL]
    assert {one.env["MAIL"] for one in trials} == {"off"}


async def test_it_can_be_switched_off_and_says_so(small: Workbench) -> None:
    swap = small.parts.settings.swap.model_copy(update={"preflight": False})
    bench = small.with_settings(swap=swap)
    run = await approved(bench)
    said = await bench.controller().drive(run, steps=1)
    assert "skipped by the settings" in str(said)
    assert not preflights(bench)


@pytest.mark.parametrize(
    ("error", "times", "outcome"),
    [
        (BoxLost("evicted"), 1, Outcome.COMMITTED),
        (BoxLost("evicted"), 3, Outcome.FAILED),
        (BoxRefused("no right"), 1, Outcome.FAILED),
    ],
)
async def test_a_lost_box_says_nothing_of_the_candidate(
    small: Workbench, error: Any, times: int, outcome: Outcome
) -> None:
    run = await approved(small)
    small.boxes.fail("*/preflight/*", error, times)
    assert (await small.go(run)).outcome is outcome
    assert small.target.held is None


async def test_a_box_that_is_lost_under_the_canary_is_not_an_unfit_candidate(small: Workbench) -> None:
    run = await approved(small)
    lost: list[str] = []

    class Snatching:
        def __getattr__(self, name: str) -> Any:
            return getattr(small.parts.turns, name)

        def send(self, place: Any, session: str, message: str, seconds: float) -> Any:
            if place.box is not None and not lost:
                lost.append(place.box.key)
                small.boxes.lose(place.box.key)
                from moss.domain.trial import Answer

                return Answer(error="connection reset")
            return small.parts.turns.send(place, session, message, seconds)

    assert (await small.with_parts(turns=Snatching()).go(run)).outcome is Outcome.COMMITTED
    assert lost
    assert len(preflights(small)) == 2


async def test_no_room_for_a_copy_leaves_the_agent_alone(small: Workbench) -> None:
    run = await approved(small)
    small.target.fail("state_copy", NoSpace("a copy takes 9 GB, 1 GB is free"))
    ended = await small.go(run)
    assert ended.outcome is Outcome.FAILED
    assert "a copy takes 9 GB" in ended.because
    assert small.target.starts == [small.base]


async def test_a_gateway_that_is_down_is_waited_for(small: Workbench) -> None:
    run = await approved(small)
    down = 2

    class Flaky:
        def __getattr__(self, name: str) -> Any:
            return getattr(small.gateway, name)

        def open(self, grant: Any) -> str:
            nonlocal down
            if grant.stage == "preflight" and down > 0:
                down -= 1
                raise GatewayDown("no answer")
            return small.gateway.open(grant)

    assert (await small.with_parts(gateway=Flaky()).go(run)).outcome is Outcome.COMMITTED


async def test_what_its_canary_costs_is_counted(tmp_path: Path) -> None:
    def speaks(asked: Asked) -> Said:
        return Said("ok")

    bench = workbench(tmp_path / "bench", cases=3, model=speaks)
    run = await bench.go(bench.attempts(Attempt(fixes=("case-1", "case-2", "case-3"))).start())
    bench.approve(run.id)
    before = run.spent.tokens
    await bench.controller().drive(run.id, steps=1)
    after = bench.run(run.id)
    assert after.next is not None
    assert after.next.stage is Stage.SWAP
    assert after.spent.tokens > before


class Watched:
    """The turn driver of a bench whose candidate goes wrong at the `at`-th look after it was ready: `does`."""

    def __init__(self, bench: Workbench, at: int, does: Callable[[Place], Probe | None], looks: int = 99) -> None:
        self._bench, self._until, self._at, self._does = bench, at + looks, at, does
        self.seen = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bench.parts.turns, name)

    def health(self, place: Place) -> Probe:
        probe: Probe = self._bench.parts.turns.health(place)
        if place.box is None or place.box.role is not BoxRole.PREFLIGHT:
            return probe
        self.seen += 1
        return (self._does(place) or probe) if self._at <= self.seen - 1 < self._until else probe


def watching(bench: Workbench, seconds: float = SHORT) -> Workbench:
    swap = bench.parts.settings.swap.model_copy(update={"preflight_watch_seconds": seconds})
    return bench.with_settings(swap=swap)


async def test_a_candidate_that_ends_while_it_is_watched_is_unfit(small: Workbench) -> None:
    bench = watching(small)

    def ends(place: Place) -> None:
        assert place.box is not None
        bench.boxes.stop(place.box, 0.0)

    run = (await bench.with_parts(turns=Watched(bench, 1, ends)).go(await approved(bench))).id
    assert bench.run(run).outcome is Outcome.UNFIT
    assert "while it was watched" in bench.run(run).because
    assert bench.target.starts == [bench.base]


@pytest.mark.parametrize(("looks", "outcome"), [(2, Outcome.COMMITTED), (3, Outcome.UNFIT)])
async def test_a_busy_candidate_may_miss_two_looks_and_not_three(
    small: Workbench, looks: int, outcome: Outcome
) -> None:
    bench = watching(small)
    slow = Watched(bench, 1, lambda _: Probe(Readiness.FAILED, None, "status 500"), looks)
    assert (await bench.with_parts(turns=slow).go(await approved(bench))).outcome is outcome


async def test_the_box_lives_as_long_as_the_watch(small: Workbench) -> None:
    bench = watching(small)
    await bench.controller().tick(await approved(bench))
    (spec,) = preflights(bench)
    trial = next(one for one in bench.boxes.launched if one.role is BoxRole.TRIAL)
    assert spec.limits.seconds == pytest.approx(trial.limits.seconds + SHORT)


async def test_without_a_watch_there_is_one_look(small: Workbench) -> None:
    turns = Watched(small, 99, lambda _: None)
    await small.with_parts(turns=turns).controller().tick(await approved(small))
    assert turns.seen == 1
