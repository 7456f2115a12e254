"""An engine that restarts at any step of a swap: never two agents, and the swap ends where it would have."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moss.domain.ids import Key
from moss.ports import Image, Readiness
from moss.testing.live_docker import LiveDocker, tiny_image
from tests.adapters.targets.docker.beside_agent import MOSS_IMAGE
from tests.adapters.targets.docker.test_swap_kills import Killed, killed_after
from tests.own_engine import OwnEngine, dockerd

pytestmark = [pytest.mark.needs("docker", "own-engine"), pytest.mark.slow, pytest.mark.xdist_group("docker")]


@pytest.fixture
def engine(moss_image: None, tiny_images: None) -> Iterator[OwnEngine]:
    program = dockerd("MOSS_TEST_DOCKERD")
    assert isinstance(program, Path), program
    made = OwnEngine(program)
    try:
        made.start()
        made.take(MOSS_IMAGE)
        made.enter()
        yield made
    finally:
        made.leave()
        made.close()


@pytest.fixture
def on_own(engine: OwnEngine, tmp_path: Path) -> Iterator[LiveDocker]:
    made = LiveDocker(tmp_path, engine=engine.address)
    for image in (tiny_image("1"), tiny_image("2")):
        (tag,) = made_tags(image)
        engine.take(tag)
    try:
        made.up()
        yield made
    finally:
        made.close()


def made_tags(image: Image) -> list[str]:
    from moss.testing.live_docker import docker

    return docker("image", "inspect", "-f", '{{join .RepoTags " "}}', image.digest).split()[:1]


def running(live: LiveDocker) -> list[str]:
    """Agents that run, by the image."""
    told: list[Any] = [live.inspect(name) for name in live.containers() if name.startswith(live.name)]
    return [one["Image"] for one in told if one["State"]["Running"]]


def interrupted(live: LiveDocker, calls: int, step: str, *words: Any) -> None:
    """The step's first calls, and no more: the controller went down with the machine."""
    with pytest.raises(Killed), killed_after(calls):
        getattr(live.target, step)(*words)


def swap_until(live: LiveDocker, moment: str, old: Image, new: Image, key: Key) -> None:
    """The steps before a moment, and the half step that is it."""
    target = live.target
    target.prepare(new, key)
    target.hold(key, 1.0, 300.0)
    if moment == "prepared and held":
        return
    if moment == "told not to come back":
        interrupted(live, 1, "stop", key, old.digest)
        return
    target.stop(key, old.digest)
    target.snapshot(key, 1 << 30)
    if moment == "stopped":
        return
    if moment == "named and not started":
        interrupted(live, 2, "start", key, new.digest)
        return
    target.start(key, new.digest)
    live.until_ready()
    if moment == "probing":
        return
    target.release(key)
    if moment == "watched":
        return
    target.settle(key)


ALIVE = {"prepared and held": "old", "settled": "new"}
"""who is back by itself; at every other moment nobody, until the controller decides"""


@pytest.mark.timeout(600)
def test_an_engine_that_restarts_at_any_moment_never_starts_two_and_the_swap_goes_on(
    on_own: LiveDocker, engine: OwnEngine
) -> None:
    live, versions = on_own, [tiny_image("2"), tiny_image("1")]
    moments = ("prepared and held", "told not to come back", "stopped", "named and not started", "probing", "watched")
    for number, moment in enumerate((*moments, "settled")):
        key, old = Key(f"ev-{number}/swap"), live.target.current().image
        new = next(image for image in versions if image != old)
        swap_until(live, moment, old, new, key)
        live.target.engine.close()
        engine.restart()
        alive = {"old": [old.digest], "new": [new.digest], None: []}[ALIVE.get(moment)]
        assert running(live) == alive, moment
        live.target = live.reopened()
        if moment in ("probing", "watched"):
            assert live.target.probe().readiness is Readiness.FAILED
            live.target.stop(key, new.digest)
            live.target.start(key, old.digest)
        elif moment != "settled":
            live.target.stop(key, old.digest)
            live.target.start(key, new.digest)
        live.until_ready()
        live.target.release(key)
        live.target.settle(key)
        wanted = old if moment in ("probing", "watched") else new
        assert running(live) == [wanted.digest], moment
        assert live.target.current().image == wanted, moment
        assert live.send(moment).wait().status == 200
        live.target.forget(key)
    assert not live.two_writers()
