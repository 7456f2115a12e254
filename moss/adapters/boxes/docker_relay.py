"""Owns the way from this host to a box's port: a local address for each box, whose connections the slot's keeper
passes on. Never reads what passes.

Invariant: before the box listens, its address refuses connections, as that of a process would.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

PIECE = 1 << 16
LOOK = 0.01


class Relays:
    """Local addresses by box id, all served by one thread that starts with the first. `connect` gives a connection
    to the box's port inside, `is_open` whether the box listens (None: the slot is gone)."""

    def __init__(self, connect: Callable[[str], socket.socket], is_open: Callable[[str], bool | None]) -> None:
        self._connect, self._is_open = connect, is_open
        self._known: dict[str, _Relay] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def address(self, box: str, slot: str) -> tuple[str, int]:
        with self._lock:
            if box not in self._known:
                self._known[box] = _Relay(slot, self._connect, self._is_open)
                asyncio.run_coroutine_threadsafe(self._known[box].serve(), self._running())
            return self._known[box].address

    def close(self, box: str) -> None:
        """Absent is silent."""
        with self._lock:
            relay = self._known.pop(box, None)
            if relay is not None:
                asyncio.run_coroutine_threadsafe(relay.close(), self._running()).result(10)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="relays to boxes", daemon=True).start()
        return self._loop


class _Relay:
    def __init__(
        self, slot: str, connect: Callable[[str], socket.socket], is_open: Callable[[str], bool | None]
    ) -> None:
        self._slot, self._connect, self._is_open = slot, connect, is_open
        self._socket = socket.socket()
        # bound but not listening: connections are refused
        self._socket.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._socket.getsockname()
        self._closed = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serve(self) -> None:
        while not self._closed and not (found := await asyncio.to_thread(self._is_open, self._slot)):
            if found is None:
                return
            await asyncio.sleep(LOOK)
        if not self._closed:
            self._server = await asyncio.start_server(self._pass, sock=self._socket)

    async def close(self) -> None:
        self._closed = True
        if self._server is not None:
            self._server.close()
        self._socket.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            peer = await asyncio.to_thread(self._connect, self._slot)
            peer.setblocking(False)
            far_reader, far_writer = await asyncio.open_unix_connection(sock=peer)
            try:
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            finally:
                far_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()
            self._tasks.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
