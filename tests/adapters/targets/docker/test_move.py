"""The one move of a container that somebody started: as it was when it fails, whole when it was killed, and back."""

from typing import Any

import pytest

from moss.adapters.targets.docker.running import look
from moss.errors import MossError, TargetDown, TargetError
from moss.testing.live_docker import INSIDE, LiveDocker, docker, tiny_image
from moss.testing.live_process import post
from tests.adapters.targets.docker.test_swap_kills import Killed, killed_after

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]


def standing(tiny: LiveDocker) -> tuple[object, ...]:
    """What a person sees of the container that they started, and all that stands beside it."""
    told: Any = tiny.inspect()
    host = told["HostConfig"]
    return (told["Id"], told["State"]["Running"], host["RestartPolicy"], host["PortBindings"], tiny.containers())


def moved(tiny: LiveDocker) -> None:
    """As `moss adopt` does it, whatever was begun before."""
    adoption = tiny.target.adoption
    known = adoption.known()
    if known is not None and known.new is not None and not known.done:
        adoption.go_on(known)
    else:
        tiny.adopt()


@pytest.mark.parametrize(
    ("conduct", "says"),
    [({"exits_after": 0.3, "ready_after": 99}, "ended with"), ({"ready_after": 99}, "not get ready")],
)
def test_one_that_does_not_get_ready_leaves_the_old_one_as_it_was(
    tiny: LiveDocker, conduct: dict[str, object], says: str
) -> None:
    tiny.run("--restart", "unless-stopped")
    before = standing(tiny)
    tiny.target.live.__dict__["start_seconds"] = 3.0
    with pytest.raises(TargetError, match=f"the move did not work .*{says}.*; the agent runs again as before"):
        tiny.target.adoption.adopt(look(tiny.target.engine, tiny.name), tiny_image("bad", **conduct))
    assert standing(tiny) == before
    assert tiny.target.adoption.known() is None


def test_what_can_fail_before_fails_with_the_agent_untouched(tiny: LiveDocker) -> None:
    tiny.run("--restart", "unless-stopped")
    before, started = standing(tiny), tiny.inspect()["State"]
    tiny.target._around.front._image = "moss:never"  # type: ignore[union-attr]
    with pytest.raises(TargetDown, match="the image moss:never of MOSS's own containers is not on the engine"):
        tiny.target.adoption.adopt(look(tiny.target.engine, tiny.name), tiny.old)
    assert (standing(tiny), tiny.inspect()["State"]) == (before, started)


def test_there_and_back_users_find_it_at_the_same_port(tiny: LiveDocker) -> None:
    tiny.run("--restart", "on-failure:3")
    before = standing(tiny)
    bound: Any = tiny.inspect()
    port = int(bound["NetworkSettings"]["Ports"][f"{INSIDE}/tcp"][0]["HostPort"])
    tiny.adopt()
    assert tiny.port == port
    assert post(port, "under MOSS").status == 200
    assert tiny.target.adoption.undo() == tiny.name
    assert standing(tiny) == before
    assert tiny.kept() == ["under MOSS"]
    assert tiny.target.adoption.undo() is None


def test_after_swaps_it_still_goes_back_to_how_it_was(tiny: LiveDocker) -> None:
    tiny.run("--restart", "always")
    before = tiny.inspect()["Id"]
    tiny.adopt()
    tiny.swapped(tiny_image("2"), "ev-01/swap")
    assert tiny.target.adoption.undo() == tiny.name
    assert tiny.inspect()["Id"] == before
    running = [name for name in tiny.containers() if tiny.inspect(name)["State"]["Running"]]  # type: ignore[index]
    assert running == [tiny.name]


def test_an_old_one_that_somebody_deleted_is_made_again(tiny: LiveDocker) -> None:
    tiny.run("--restart", "always", "-e", "OWN=kept", "-e", "TOKEN=theirs")
    tiny.adopt()
    docker("rm", f"{tiny.name}.before-moss")
    tiny.target.adoption.undo()
    told: Any = tiny.inspect()
    assert {"OWN=kept", "TOKEN=theirs"} <= set(told["Config"]["Env"])
    assert told["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert told["State"]["Running"]


def test_killed_at_any_call_it_goes_on_or_goes_back(tiny: LiveDocker) -> None:
    tiny.run("--restart", "unless-stopped")
    before = standing(tiny)
    for at in range(1, 60):
        try:
            with killed_after(at) as calls:
                moved(tiny)
            tiny.target.adoption.undo()
            break
        except Killed:
            tiny.target = tiny.reopened()
            if at % 2:
                moved(tiny)
                assert tiny.target.current().running
            try:
                tiny.target.adoption.undo()
            except MossError as error:
                pytest.fail(f"after {calls[-1]}: {error}")
            assert standing(tiny) == before, calls[-1]
    assert at > 10, "so many calls the move makes at least"
    assert not tiny.two_writers()
