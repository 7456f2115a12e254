"""`moss doctor` beside an agent in a container: engine, own image, container, state, each with its mend."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from moss.api import checkup_docker
from moss.api.checkup import Level, bounded, looks
from moss.config import DockerLive
from moss.testing.live_docker import LiveDocker, sweep
from moss.wiring import Wiring

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[LiveDocker]:
    made = LiveDocker(tmp_path)
    try:
        yield made
    finally:
        made.close()
        sweep()


def wired(tiny: LiveDocker, **live: object) -> Wiring:
    """Wiring with the bench's target; `live` changes its settings."""
    settings = tiny.settings
    assert isinstance(settings.live, DockerLive)
    if live:
        tiny.settings = settings.model_copy(update={"live": settings.live.model_copy(update=live)})
    wiring = Wiring(tiny.settings, {})
    wiring.__dict__["docker_target"] = tiny.reopened()
    return wiring


def test_a_usual_one_is_ok_before_and_after_the_move(tiny: LiveDocker) -> None:
    tiny.run("-p", f"127.0.0.1:{_free()}:8080")
    wiring = wired(tiny)
    assert checkup_docker.docker(wiring).level is Level.OK
    told = checkup_docker.container(wiring)
    assert (told.level, "was left to the engine" in told.detail) == (Level.WARN, True)
    assert f"/data is on the volume {tiny.volume}" in checkup_docker.state(wiring).detail
    tiny.adopt()
    told = checkup_docker.container(wiring)
    assert (told.level, told.detail) == (Level.OK, f"`{tiny.name}` runs {tiny.old.digest}")


def test_the_lines_are_there_only_for_a_container(tiny: LiveDocker) -> None:
    tiny.run()
    names = [look.name for look in looks(wired(tiny), 20)]
    assert names[-3:] == ["docker", "container", "state"]


def test_a_name_that_is_not_there_is_told_with_the_nearest(tiny: LiveDocker) -> None:
    tiny.run()
    wiring = wired(tiny, container=f"{tiny.name}s")
    look = bounded("container", checkup_docker.container, wiring, 20)
    assert (look.level, look.mend) == (Level.FAIL, f"did you mean `{tiny.name}`?")
    assert "no container is called" in look.detail


def test_an_own_image_that_is_not_there_has_its_mend(tiny: LiveDocker) -> None:
    look = checkup_docker.docker(wired(tiny, front_image="moss:never"))
    assert (look.level, "moss:never, MOSS's own image, is not there" in look.detail) == (Level.FAIL, True)
    assert look.mend is not None
    assert "scripts/images" in look.mend


def test_an_engine_that_is_not_there_is_one_sentence(tiny: LiveDocker) -> None:
    look = bounded("docker", checkup_docker.docker, wired(tiny, engine="unix:///nowhere.sock"), 20)
    assert (look.level, "no Docker Engine answers at" in look.detail) == (Level.FAIL, True)


def test_what_no_swap_could_bring_back_is_a_fail(tiny: LiveDocker) -> None:
    tiny.run("--rm")
    look = checkup_docker.container(wired(tiny))
    assert (look.level, look.mend) == (Level.FAIL, "start it without --rm")


def test_a_state_in_the_containers_own_layer_is_a_fail(tiny: LiveDocker) -> None:
    tiny.run()
    look = checkup_docker.state(wired(tiny, state=Path("/elsewhere")))
    assert (look.level, "in the container's own layer" in look.detail) == (Level.FAIL, True)


def _free() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
