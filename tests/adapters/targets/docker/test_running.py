"""What one look at a running container tells: what is refused, with the mend, and what a person has to know before."""

from collections.abc import Callable
from pathlib import PurePosixPath

import pytest

from moss.adapters.targets.docker.front import Published
from moss.adapters.targets.docker.running import Running, look, objections, warnings
from moss.config import DockerLive
from moss.errors import Absent
from tests.adapters.targets.docker.beside_agent import Beside, docker

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]

LIVE = DockerLive(container="agent", port=8080, state=PurePosixPath("/data"))


@pytest.fixture
def seen(beside: Beside) -> Callable[..., Running]:
    """One look at an agent that was started with these options."""

    def start(*options: str, volume: bool = True) -> Running:
        kept = ("-v", f"{beside.volume()}:/data") if volume else ()
        return look(beside.engine, beside.agent(*kept, *options))

    return start


def refused(running: Running, live: DockerLive = LIVE) -> list[tuple[str, str]]:
    return [(str(one), str(one.mend)) for one in objections(running, live)]


def test_a_usual_one_is_taken_over_and_nothing_has_to_be_said(seen: Callable[..., Running], beside: Beside) -> None:
    running = seen("-p", "127.0.0.1:0:8080", "--network", beside.network(), "--restart", "always")
    assert refused(running) == []
    # the host port 0 is the engine's to choose
    (said,) = warnings(running, LIVE)
    assert f"from now on it is always {running.published(8080)[0].port}" in said


def test_a_name_that_is_not_there_is_told_with_the_nearest(beside: Beside) -> None:
    name = beside.agent()
    with pytest.raises(Absent, match=f"no container is called `{name}s`") as absent:
        look(beside.engine, f"{name}s")
    assert absent.value.mend == f"did you mean `{name}`?"
    assert absent.value.where == "moss.toml live.container"


def test_one_that_does_not_run(seen: Callable[..., Running], beside: Beside) -> None:
    name = seen("-p", "127.0.0.1::8080").name
    docker("kill", name)
    assert refused(look(beside.engine, name))[0] == (
        f"the container `{name}` does not run (exited with 137)",
        f"docker start {name}",
    )
    docker("start", name)
    docker("pause", name)
    assert "does not run (paused)" in refused(look(beside.engine, name))[0][0]
    docker("unpause", name)


@pytest.mark.parametrize(
    ("options", "says", "mend"),
    [
        (("--rm",), "was started with --rm", "without --rm"),
        (("--label", "com.docker.swarm.service.name=shop"), "the Swarm service `shop`", "plain container"),
        (("--network", "none"), "on the network `none`", "-p 8080:8080"),
        (("--network", "host"), "on the network `host`", 'live.drain = "drain"'),
    ],
)
def test_what_could_not_be_brought_back_is_refused(
    seen: Callable[..., Running], options: tuple[str, ...], says: str, mend: str
) -> None:
    ((why, how),) = refused(seen(*options))
    assert says in why
    assert mend in how


def test_one_that_polls_may_be_on_the_hosts_network(seen: Callable[..., Running]) -> None:
    polls = LIVE.model_copy(update={"drain": "drain"})
    running = seen("--network", "host")
    assert refused(running, polls) == []
    assert list(warnings(running, polls)) == []


def test_containers_that_live_in_its_network_would_lose_it(seen: Callable[..., Running], beside: Beside) -> None:
    running = seen("-p", "127.0.0.1::8080")
    beside.agent("--network", f"container:{running.name}", name="guest", port=8081)
    ((why, how),) = refused(look(beside.engine, running.name))
    assert f"`{beside.word}-guest` uses the network" in why
    assert f"give `{beside.word}-guest` networks of its own" in how


def test_one_on_the_network_of_another_is_refused(beside: Beside) -> None:
    other = beside.agent(name="other", port=8081)
    guest = beside.agent("--network", f"container:{other}", "-v", f"{beside.volume()}:/data", name="guest")
    ((why, _),) = refused(look(beside.engine, guest))
    assert "is on the network of another container" in why


def test_a_state_in_the_containers_own_layer_is_refused_with_the_way_to_keep_it(seen: Callable[..., Running]) -> None:
    ((why, how),) = refused(seen("-p", "127.0.0.1::8080", volume=False))
    assert "/data of" in why
    assert "own layer and would stay behind (mounts: none)" in why
    assert "docker cp it into a volume and mount that at /data" in how


def test_a_state_below_a_mount_is_kept_by_it(seen: Callable[..., Running]) -> None:
    deeper = LIVE.model_copy(update={"state": PurePosixPath("/data/agent/state")})
    beside_it = LIVE.model_copy(update={"state": PurePosixPath("/database")})
    running = seen("-p", "127.0.0.1::8080")
    assert refused(running, deeper) == []
    assert len(refused(running, beside_it)) == 1


def test_what_a_person_has_to_know_is_said(seen: Callable[..., Running], beside: Beside) -> None:
    network = beside.network()
    running = seen("--network", network, "-P", "-v", "/anonymous")
    docker("exec", "--user", "0", running.name, "sh", "-c", "mkdir /own && touch /own/notes /tmp/scratch /data/kept")
    volume = running.mount("/data")
    assert volume is not None
    beside.agent("-v", f"{volume['Name']}:/other", "--network", network, name="second")
    said = list(warnings(look(beside.engine, running.name), LIVE))
    assert any("/anonymous has no name" in one for one in said)
    assert any("1 files changed in the container's own layer" in one and "/own/notes" in one for one in said)
    assert any("was left to the engine" in one for one in said)
    assert any(f"`{beside.word}-second` runs on the same state" in one for one in said)
    assert any("published nowhere" in one and "http://moss-front:8080" in one for one in said)


def test_neighbours_that_ask_it_past_the_front_are_named(seen: Callable[..., Running], beside: Beside) -> None:
    network = beside.network()
    beside.agent("--network", network, name="asker")
    said = list(warnings(seen("--network", network, "-p", "127.0.0.1::8080"), LIVE))
    assert any(f"({beside.word}-asker)" in one and "http://moss-front:8080" in one for one in said)


def test_both_families_of_all_addresses_are_one_binding(seen: Callable[..., Running]) -> None:
    (one,) = seen("-p", "8080").published(8080)
    assert one.host in ("", "0.0.0.0")
    assert one == Published(host=one.host, port=one.port)
