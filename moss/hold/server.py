"""Owns the proxy's process: its lock, its listening sockets, its end. One of a kind for a folder.

Invariant: it says it is ready only when users' port and control socket both answer.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from moss.daemon import lines
from moss.errors import MossError
from moss.hold.agent import HEADER_BYTES, way_to_agent
from moss.hold.desk import Desk
from moss.hold.front import Front
from moss.hold.memory import Memory
from moss.hold.options import Command
from moss.hold.words import REQUEST, Backend, SetBackend

END_SECONDS = 2.0
"""how long messages in flight may still take when the proxy is told to end"""


async def serve(command: Command, ready: Callable[[], None]) -> None:
    """Until it is told to `quit` or cancelled. The caller holds the lock. Raises: OSError: the port is taken."""
    options = command.options
    memory = Memory(options.folder)
    desk = Desk(options, memory, time.monotonic)
    if command.backend is not None and desk.backend is None:
        await desk.act(SetBackend(backend=Backend(host=command.backend[0], port=command.backend[1])))
    async with way_to_agent() as session:
        front = Front(options, desk, memory, session)
        async with _door(front, options.host, options.port), _control(desk, lines.listen(options.control)):
            ready()
            try:
                await desk.quit.wait()
            finally:
                desk.close()


@contextlib.asynccontextmanager
async def _door(front: Front, host: str, port: int) -> AsyncIterator[None]:
    """The users' port. A client that leaves takes its request with it, as it would without a proxy."""
    server = web.Server(
        front,
        handler_cancellation=True,
        auto_decompress=False,
        max_line_size=HEADER_BYTES,
        max_field_size=HEADER_BYTES,
        access_log=None,
    )
    runner = web.ServerRunner(server, shutdown_timeout=END_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _control(desk: Desk, listening: socket.socket) -> AsyncIterator[None]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):
            writer.write(await _answered(desk, await reader.readline()))
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, sock=listening, limit=lines.LIMIT)
    try:
        yield
    finally:
        server.close()


async def _answered(desk: Desk, line: bytes) -> bytes:
    try:
        said = await desk.act(REQUEST.validate_json(line))
        return lines.good(said.model_dump_json().encode())
    except (MossError, ValueError, OSError) as error:
        return lines.bad(error)
