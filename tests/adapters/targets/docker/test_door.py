"""The live agent's way to the gateway: by name on its networks, with its own token, and to nothing else."""

import json
from collections.abc import Iterator

import pytest

from moss.adapters.targets.docker.door import Door
from moss.config import Upstream
from moss.domain.ids import Key, RunId
from moss.gateway.config import GatewayConfig
from moss.gateway.home import GatewayHome
from moss.gateway.tokens import admin_token
from moss.ports import GatewayControl, GatewayMode, Grant
from moss.testing.serving import gateway_thread
from tests.adapters.targets.docker.beside_agent import MOSS_IMAGE, Beside, docker, free_port

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]

ASK = """
import json, sys, urllib.error, urllib.request
url, token, path = sys.argv[1:4]
told = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
request = urllib.request.Request(url + path, told, {"Authorization": "Bearer " + token,
                                                   "Content-Type": "application/json"})
try:
    print(urllib.request.urlopen(request, timeout=20).read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print("nothing", error)
"""
CHAT = "/v1/chat/completions"
PORTS = """
import socket
for port in range(1, 65536):
    with socket.socket() as one:
        one.settimeout(0.5)
        if one.connect_ex(("moss-gateway", port)) == 0:
            print(port)
"""


class World:
    """A gateway with a scripted model on this host, and the door to it."""

    def __init__(self, beside: Beside, control: GatewayControl, port: int) -> None:
        self.beside, self.control, self.port = beside, control, port
        self.door = Door(beside.engine, beside.home, MOSS_IMAGE, port)
        grant = Grant(Key("live"), RunId("live"), "live", GatewayMode.RECORD, ("main",), seconds=None)
        self.token = control.open(grant)

    def ask(
        self, where: str, *, token: str | None = None, path: str = CHAT, networks: tuple[str, ...] = ("bridge",)
    ) -> str:
        """What a running container `where` gets from the gateway."""
        return docker("exec", where, "python3", "-c", ASK, self.door.url(networks), token or self.token, path)


@pytest.fixture
def world(beside: Beside) -> Iterator[World]:
    script, port = beside.home / "model.json", free_port()
    script.write_text(json.dumps({"version": 1, "rules": [{"text": "come in"}]}))
    upstreams = (Upstream(name="main", script=script),)
    told = GatewayConfig(port=port, artifacts=beside.home / "artifacts", upstreams=upstreams)
    with gateway_thread(beside.home, told, redact=bytes, environ={}) as control:
        made = World(beside, control, port)
        yield made
        made.door.stop()


def test_an_agent_on_a_network_of_its_own_asks_the_gateway_by_name(world: World) -> None:
    network = world.beside.network()
    agent = world.beside.agent("--network", network)
    assert world.door.networks([network]) == (network,)
    world.door.keep_alive([network])
    before = world.beside.inspect(world.door.name)["Id"]
    assert "come in" in world.ask(agent)
    world.door.keep_alive([network])
    assert world.beside.inspect(world.door.name)["Id"] == before


def test_an_agent_on_the_engines_default_network_gets_one_with_names(world: World) -> None:
    networks = world.door.networks(["bridge"])
    assert networks == ("bridge", world.door.own_network)
    agent = world.beside.agent()
    docker("network", "connect", world.door.own_network, agent)
    world.door.keep_alive(["bridge"])
    assert "come in" in world.ask(agent)
    # the door's address may become another one: the name still holds
    world.door.stop()
    holder = world.beside.agent("--network", world.door.own_network, name="holder")
    world.door.keep_alive(["bridge"])
    assert "come in" in world.ask(agent)
    docker("rm", "-f", agent, holder)
    world.door.stop()
    assert docker("network", "ls", "-q", "--filter", f"name={world.door.own_network}") == ""


def test_an_agent_on_the_hosts_own_network_needs_no_door(world: World) -> None:
    world.door.keep_alive(["host"])
    assert not world.door.runs()
    assert world.door.url(["host"]) == f"http://127.0.0.1:{world.port}"


def test_the_door_is_open_again_when_the_gateway_was_away(beside: Beside) -> None:
    port, network = free_port(), beside.network()
    agent = beside.agent("--network", network)
    door = Door(beside.engine, beside.home, MOSS_IMAGE, port)
    door.keep_alive([network])
    assert docker("exec", agent, "python3", "-c", ASK, door.url([network]), "x", CHAT).startswith("nothing")
    told = GatewayConfig(port=port, artifacts=beside.home / "artifacts")
    for _ in range(2):
        with gateway_thread(beside.home, told, redact=bytes, environ={}):
            assert docker("exec", agent, "python3", "-c", ASK, door.url([network]), "x", CHAT).startswith("401")
    door.stop()


def test_nothing_but_the_gateway_is_reached_through_it(world: World) -> None:
    network = world.beside.network()
    agent = world.beside.agent("--network", network)
    world.door.keep_alive([network])
    assert docker("exec", agent, "python3", "-c", PORTS) == str(world.port)
    told = world.beside.inspect(world.door.name)
    assert [(one["Source"], one["RW"]) for one in told["Mounts"]] == [  # type: ignore[attr-defined]
        (str(world.beside.home / "gateway" / "door"), False)
    ]
    host = told["HostConfig"]
    assert isinstance(host, dict)
    assert (host["CapDrop"], host["ReadonlyRootfs"], host["PortBindings"]) == (["ALL"], True, {})


def test_a_neighbour_on_the_network_gets_no_further_than_the_asking_for_a_token(world: World) -> None:
    network = world.beside.network()
    world.door.keep_alive([network])
    neighbour = world.beside.agent("--network", network, name="neighbour")
    assert "come in" in world.ask(neighbour), "the probe itself works, with the agent's own token"
    for token in ("another", "moss-admin." + "0" * 64):
        assert world.ask(neighbour, token=token).startswith("401")
    closed = world.control.open(Grant(Key("closed"), RunId("live"), "live", GatewayMode.LIVE, ("main",), seconds=None))
    world.control.close(Key("closed"))
    assert world.ask(neighbour, token=closed).startswith("401")


@pytest.mark.parametrize("path", ["/_moss/open", "/_moss/spending", "/_moss/stop", "/_moss/reload", "/_moss/record"])
def test_the_agents_token_opens_none_of_the_controllers_routes(world: World, path: str) -> None:
    network = world.beside.network()
    agent = world.beside.agent("--network", network)
    world.door.keep_alive([network])
    assert world.ask(agent, path=path)[:3] in ("401", "403", "404")
    secret = GatewayHome(world.beside.home).secret.read_bytes().strip()
    admitted = world.ask(agent, path="/_moss/usage", token=admin_token(secret))
    assert admitted[:3] == "400", "the probe itself works: with the secret, which no agent has, the route is there"
