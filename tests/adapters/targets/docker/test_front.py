"""The hold proxy as a container: it takes the host port, holds, streams, survives, and shows nobody its control."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import aiohttp
import httpx
import pytest

from moss.adapters.targets.docker.front import Front, Published, front_options
from moss.domain.ids import Key
from moss.errors import TargetDown
from moss.hold.words import Backend
from tests.adapters.targets.docker.beside_agent import MOSS_IMAGE, Beside, docker, free_port

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]

SWAP = Key("ev-01/swap")


class Fronted:
    """An agent on one network, and the front before it."""

    def __init__(self, beside: Beside) -> None:
        self.beside, self.network, self.port = beside, beside.network(), free_port()
        self.agent = beside.agent("--network", self.network)
        options = front_options(beside.home, 8080, "/health", "X-Session-Id")
        self.front = Front(beside.engine, beside.home, options, MOSS_IMAGE)
        self.url = f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        self.front.keep_alive([self.network], [Published(host="127.0.0.1", port=self.port)])
        self.tell(self.agent, "one")

    def tell(self, agent: str, boot: str) -> None:
        host = self.beside.address(agent, self.network)
        self.front.client.backend(Backend(host=host, port=8080, boot=boot))


@pytest.fixture
def fronted(beside: Beside) -> Iterator[Fronted]:
    made = Fronted(beside)
    made.up()
    yield made
    made.front.stop()


def test_users_reach_the_agent_at_the_port_of_the_host(fronted: Fronted) -> None:
    answer = httpx.post(f"{fronted.url}/echo", content=b"hello", headers={"X-Forwarded-For": "203.0.113.7"})
    told = answer.json()
    assert told["body"] == "hello"
    assert told["headers"]["Host"] == f"127.0.0.1:{fronted.port}"
    # the user whom the engine shows, added to whom a proxy further out saw
    before, _, user = told["headers"]["X-Forwarded-For"].partition(", ")
    assert before == "203.0.113.7"
    assert user
    assert user != fronted.beside.address(fronted.front.name, fronted.network)


def test_what_is_asked_for_again_changes_nothing(fronted: Fronted) -> None:
    before = fronted.beside.inspect(fronted.front.name)
    fronted.up()
    after = fronted.beside.inspect(fronted.front.name)
    assert (before["Id"], before["State"]) == (after["Id"], after["State"])
    assert fronted.front.published() == (Published(host="127.0.0.1", port=fronted.port),)


def test_a_message_waits_while_the_agents_container_is_exchanged(fronted: Fronted) -> None:
    said: list[httpx.Response] = []
    fronted.front.client.hold(SWAP, 1.0, 60.0, 10)
    sender = threading.Thread(target=lambda: said.append(httpx.post(f"{fronted.url}/echo", content=b"x", timeout=60)))
    sender.start()
    while fronted.front.client.status().waiting == 0:
        pass
    docker("rm", "-f", fronted.agent)
    other = fronted.beside.agent("--network", fronted.network, "-e", "WHO=other", name="other")
    fronted.tell(other, "two")
    assert said == []
    released = fronted.front.client.release(SWAP)
    sender.join(30)
    assert released.waited == 1
    assert (said[0].status_code, said[0].json()["who"]) == (200, "other")
    assert len(fronted.front.client.answered(SWAP)) == 1


def test_a_hold_outlives_the_front_itself(fronted: Fronted) -> None:
    fronted.front.client.hold(SWAP, 1.0, 60.0, 10)
    docker("kill", fronted.front.name)
    fronted.up()
    status = fronted.front.client.status()
    assert status.held == SWAP
    assert status.backend is not None
    assert status.backend.boot == "one"


def test_one_that_was_stopped_by_hand_is_revived(fronted: Fronted) -> None:
    assert not fronted.front.revive()
    docker("stop", "-t", "1", fronted.front.name)
    assert fronted.front.revive()
    assert httpx.get(f"{fronted.url}/health").status_code == 200


def test_one_that_was_removed_by_hand_comes_back_with_its_ports(fronted: Fronted) -> None:
    docker("rm", "-f", fronted.front.name)
    fronted.front.keep_alive([fronted.network])
    assert httpx.get(f"{fronted.url}/health").status_code == 200
    fronted.front.stop()
    assert fronted.front.published() == ()


def test_one_that_crashes_comes_back_by_itself(fronted: Fronted) -> None:
    pid = int(fronted.beside.inspect(fronted.front.name)["State"]["Pid"])  # type: ignore[index]
    # it runs as this user
    os.kill(pid, signal.SIGKILL)
    for _ in range(1000):
        try:
            if httpx.get(f"{fronted.url}/health", timeout=1).status_code == 200:
                break
        except httpx.TransportError:
            continue
    assert fronted.beside.inspect(fronted.front.name)["State"]["Pid"] not in (0, pid)  # type: ignore[index]


async def test_events_come_one_by_one_and_a_websocket_both_ways(fronted: Fronted) -> None:
    async with aiohttp.ClientSession(fronted.url) as session:
        async with session.get("/events?wait=1") as stream:
            assert await stream.content.readuntil(b"\n\n") == b"data: 0\n\n"
            # the agent sends the next only when it is told to: nothing is held back on the way
            async with session.post("/next") as on:
                assert on.status == 200
            assert await asyncio.wait_for(stream.content.readuntil(b"\n\n"), 10) == b"data: 1\n\n"
        async with session.ws_connect("/talk") as peer:
            await peer.send_str("one")
            assert await peer.receive_str() == "heard one"


def test_on_more_networks_and_other_ports_it_is_made_to_fit(fronted: Fronted) -> None:
    second, port = fronted.beside.network(), free_port()
    fronted.front.keep_alive([fronted.network, second], [Published(host="127.0.0.1", port=port)])
    fronted.tell(fronted.agent, "one")
    joined = fronted.beside.inspect(fronted.front.name)["NetworkSettings"]["Networks"]  # type: ignore[index]
    assert set(joined) == {fronted.network, second}
    assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{fronted.url}/health")
    fronted.front.keep_alive([second], [Published(host="127.0.0.1", port=port)])
    joined = fronted.beside.inspect(fronted.front.name)["NetworkSettings"]["Networks"]  # type: ignore[index]
    assert set(joined) == {second}


def test_a_port_that_somebody_has_is_named(beside: Beside) -> None:
    taken, network = free_port(), beside.network()
    beside.agent("-p", f"127.0.0.1:{taken}:8080", "--network", network)
    front = Front(beside.engine, beside.home, front_options(beside.home, 8080, "/health", "X"), MOSS_IMAGE)
    with pytest.raises(TargetDown, match=rf"the port 127\.0\.0\.1:{taken} is taken \(mend: docker ps"):
        front.keep_alive([network], [Published(host="127.0.0.1", port=taken)])


def test_an_image_that_is_not_there_is_named_with_its_mend(beside: Beside) -> None:
    front = Front(beside.engine, beside.home, front_options(beside.home, 8080, "/health", "X"), "moss:never")
    with pytest.raises(TargetDown, match=r"the image moss:never of MOSS's own containers .* \(mend: scripts/images"):
        front.keep_alive(["bridge"], [])
    assert not front.runs()


def test_on_the_engines_default_network_it_works_without_a_name(beside: Beside) -> None:
    agent, port = beside.agent(), free_port()
    front = Front(beside.engine, beside.home, front_options(beside.home, 8080, "/health", "X"), MOSS_IMAGE)
    front.keep_alive(["bridge"], [Published(host="127.0.0.1", port=port)])
    front.client.backend(Backend(host=beside.address(agent, "bridge"), port=8080))
    assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200


def test_it_has_no_right_that_it_does_not_need(fronted: Fronted) -> None:
    told = fronted.beside.inspect(fronted.front.name)
    host = told["HostConfig"]
    assert isinstance(host, dict)
    assert host["CapDrop"] == ["ALL"]
    assert host["ReadonlyRootfs"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == host["MemorySwap"] > 0
    assert host["RestartPolicy"]["Name"] == "always"
    assert [one["Source"] for one in told["Mounts"]] == [str(fronted.beside.home / "hold")]  # type: ignore[attr-defined]


PORTS_OF_FRONT = """
import socket, sys
open_ports = []
for port in range(1, 65536):
    with socket.socket() as one:
        one.settimeout(0.5)
        if one.connect_ex(("moss-front", port)) == 0:
            open_ports.append(port)
print(*open_ports)
"""


def test_from_the_agents_network_only_the_agents_own_port_is_seen_on_it(fronted: Fronted) -> None:
    assert fronted.beside.inside(fronted.network, PORTS_OF_FRONT) == "8080"


ORDERS = """
import http.client, sys
for words in (b'{"kind":"quit"}\\n', b'{"kind":"backend","backend":null}\\n'):
    peer = http.client.HTTPConnection("moss-front", 8080, timeout=5)
    peer.connect(); peer.sock.sendall(words); peer.sock.recv(1000); peer.close()
peer = http.client.HTTPConnection("moss-front", 8080, timeout=5)
for target in ("/control.sock", "http://unix:/control.sock", "/../control.sock"):
    peer.request("POST", target, body=b'{"kind":"quit"}'); print(peer.getresponse().status); peer.close()
"""


def test_its_control_is_on_no_network(fronted: Fronted) -> None:
    """Orders sent to its port are HTTP or nothing: they reach the agent, or are refused."""
    said = fronted.beside.inside(fronted.network, ORDERS).split()
    assert set(said) <= {"400", "404"}
    status = fronted.front.client.status()
    assert status.backend is not None
    assert status.backend.boot == "one"
