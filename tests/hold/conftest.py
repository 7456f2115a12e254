"""A proxy in the test's own loop before an agent in the test's own loop; both on free ports."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest
from aiohttp import web

from moss.hold.client import HoldClient
from moss.hold.options import Command, HoldOptions
from moss.hold.server import serve
from moss.hold.words import Backend

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> None:
    """Waits on a condition, never on time."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@dataclass
class Agent:
    """An HTTP agent that answers as the test says and keeps what it got."""

    port: int
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    got: list[web.BaseRequest] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    runner: web.ServerRunner | None = None
    boot: str = "boot-1"

    async def start(self) -> None:
        self.runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.got.append(request)
        return await self.answer(request)


async def say_ok(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="ok " + (await request.text()))


@dataclass
class Front:
    """The proxy as its users and its controller see it."""

    options: HoldOptions
    client: HoldClient
    http: aiohttp.ClientSession
    task: "asyncio.Task[None]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.options.port}"

    async def ask(self, call: Callable[..., T], *args: object) -> T:
        """A call of the synchronous client, off the loop."""
        return await asyncio.to_thread(call, *args)

    async def name(self, agent: Agent) -> None:
        await self.ask(self.client.backend, Backend(host="127.0.0.1", port=agent.port, boot=agent.boot))

    async def post(self, text: str, path: str = "/say", **headers: str) -> tuple[int, str]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.post(self.url + path, data=text.encode(), headers=sent) as response:
            return response.status, await response.text()

    async def waiting(self, count: int) -> None:
        async def holds() -> bool:
            return (await self.ask(self.client.status)).waiting == count

        await until(holds)

    async def held(self, key: str) -> None:
        async def holds() -> bool:
            return (await self.ask(self.client.status)).held == key

        await until(holds)

    async def in_flight(self, count: int) -> None:
        async def holds() -> bool:
            return (await self.ask(self.client.status)).in_flight == count

        await until(holds)

    async def hold(self, key: str = "k", drain: float = 2.0, deadline: float = 30.0, waiting: int = 100) -> object:
        return await self.ask(self.client.hold, key, drain, deadline, waiting)


@contextlib.asynccontextmanager
async def proxy(folder: Path, port: int, connect_seconds: float = 2.0) -> AsyncIterator[Front]:
    options = HoldOptions(folder, "127.0.0.1", port, ("/health",), connect_seconds)
    ready = asyncio.Event()
    task = asyncio.ensure_future(serve(Command(options, None, False), ready.set))
    waiting = asyncio.ensure_future(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiting.cancel()
        await task
    async with aiohttp.ClientSession() as http:
        try:
            yield Front(options, HoldClient(folder), http, task)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    made = Agent(free_port(), say_ok)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def front(tmp_path: Path, agent: Agent) -> AsyncIterator[Front]:
    async with proxy(tmp_path / "hold", free_port()) as made:
        await made.name(agent)
        yield made
