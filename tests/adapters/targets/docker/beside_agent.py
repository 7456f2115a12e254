"""What stands around an agent in a container, for tests: networks, containers that somebody started by hand, a home.

All of it carries the test's own label or name, and `clean` leaves nothing behind.
"""

import json
import socket
import subprocess
import uuid
from pathlib import Path

from moss.dockerd import Engine, home_tag
from moss.errors import TargetDown
from tests.docker_home import DockerHome

MOSS_IMAGE = "moss:0.1.0"
REPOSITORY = Path(__file__).parents[4]
AGENT = """
import asyncio, os, sys
from aiohttp import web

async def health(request):
    return web.json_response({"boot": os.getpid()})

async def echo(request):
    body = await request.text()
    told = {"headers": dict(request.headers), "peer": request.remote, "body": body, "who": os.environ.get("WHO")}
    return web.json_response(told)

async def events(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(3):
        await response.write(f"data: {number}\\n\\n".encode())
        await request.app["next"].get() if request.query.get("wait") else None
    await response.write_eof()
    return response

async def go_on(request):
    request.app["next"].put_nowait(None)
    return web.Response(text="on")

async def talk(request):
    peer = web.WebSocketResponse()
    await peer.prepare(request)
    async for message in peer:
        await peer.send_str("heard " + message.data)
    return peer

async def main():
    app = web.Application()
    app["next"] = asyncio.Queue()
    app.add_routes([web.get("/health", health), web.post("/echo", echo), web.get("/events", events),
                    web.post("/next", go_on), web.get("/talk", talk)])
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", int(sys.argv[1])).start()
    import signal
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    await end.wait()
    await runner.cleanup()

asyncio.run(main())
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def docker(*words: str, code: int = 0, given: str | None = None) -> str:
    """What `docker` writes; its exit code is looked at."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, input=given, check=False)
    assert done.returncode == code, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


class Beside:
    """One home beside one agent."""

    def __init__(self, path: Path) -> None:
        self.home = path / "home"
        self.home.mkdir(mode=0o700, parents=True)
        self.engine = Engine(None, TargetDown)
        self.tag = home_tag(self.home)
        self.word = f"t{uuid.uuid4().hex[:8]}"
        self._networks: list[str] = []
        self._containers: list[str] = []
        self._volumes: list[str] = []

    def network(self, *options: str) -> str:
        """A network of its own. A /28: the engine's own pools end at 31 networks."""
        name = f"{self.word}-net{len(self._networks)}"
        docker("network", "create", "--label", f"moss.dev/test={self.word}", *options, name)
        self._networks.append(name)
        return name

    def volume(self) -> str:
        name = f"{self.word}-vol{len(self._volumes)}"
        docker("volume", "create", name)
        self._volumes.append(name)
        return name

    def agent(self, *options: str, name: str = "agent", port: int = 8080) -> str:
        """A running agent of nobody's; its container's name."""
        full = f"{self.word}-{name}"
        docker("run", "-d", "--name", full, *options, MOSS_IMAGE, "python3", "-c", AGENT, str(port))
        self._containers.append(full)
        return full

    def also(self, name: str) -> None:
        """A container that was made by other hands is removed, too."""
        self._containers.append(name)

    def inspect(self, name: str) -> dict[str, object]:
        told: dict[str, object] = json.loads(docker("container", "inspect", name))[0]
        return told

    def address(self, name: str, network: str) -> str:
        return docker(
            "container", "inspect", "-f", f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}', name
        )

    def inside(self, network: str, program: str, *words: str) -> str:
        """What a program says that runs in another container of a network."""
        return docker("run", "--rm", "--network", network, MOSS_IMAGE, "python3", "-c", program, *words)

    def clean(self) -> None:
        home = DockerHome(self.home)
        home.clean()
        for name in self._containers:
            subprocess.run(["docker", "rm", "-f", "-v", name], capture_output=True, check=False)
        networks = docker("network", "ls", "-q", "--filter", f"label=moss.dev/home={self.tag}").split()
        for name in [*self._networks, *networks]:
            subprocess.run(["docker", "network", "rm", name], capture_output=True, check=False)
        for name in self._volumes:
            subprocess.run(["docker", "volume", "rm", name], capture_output=True, check=False)
        self.engine.close()
