"""Owns the inside of the door: bytes from one TCP port to the gateway's Unix socket and back. Runs in a container.

Never reads what passes: the gateway itself asks for a token. Standard library only, since it is shipped as
`python3 -c SOURCE PORT SOCKET`. Invariant: it connects to that socket and to nothing else, for at most `MOST` at once.
"""

import asyncio
import contextlib
import os
import signal
import sys

MOST = 256
PIECE = 1 << 16
OPEN = "open"
"""what it writes when it listens"""
IDLE_HALF = 300.0
"""seconds that one side may stay open after the other has ended"""


class Door:
    """One port, one socket."""

    def __init__(self, socket: str) -> None:
        self._socket, self._passing = socket, 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._passing >= MOST:
            writer.transport.abort()
            return
        self._passing += 1
        try:
            await self._join(reader, writer)
        except OSError:
            writer.transport.abort()
        finally:
            self._passing -= 1
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until both sides have ended. Raises: OSError: the gateway is not there, or a side broke off."""
        far_reader, far_writer = await asyncio.open_unix_connection(self._socket)
        out, back = asyncio.ensure_future(pump(reader, far_writer)), asyncio.ensure_future(pump(far_reader, writer))
        try:
            done, _ = await asyncio.wait((out, back), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            async with asyncio.timeout(IDLE_HALF):
                await asyncio.gather(out, back)
        finally:
            out.cancel()
            back.cancel()
            far_writer.transport.abort()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def serve(port: int, socket: str) -> None:
    server = await asyncio.start_server(Door(socket).take, "0.0.0.0", port, backlog=256)  # noqa: S104
    print(OPEN, flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
