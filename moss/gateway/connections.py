"""Owns the gateway's open connections: how many there may be, and which end when there are more.

Never ends one that is being answered. Invariant: idle connections of one box, however many, keep no other box and not
the controller from a new one.
"""

import asyncio
import resource
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler

MOST = 512
"""Connections that may be open; beyond it the one that was idle longest is closed for each new one."""


class Connections:
    """`make` gives the protocol of a new connection; one that brings no whole head in `seconds` is closed."""

    def __init__(self, make: Callable[[], RequestHandler], seconds: float, most: int = MOST) -> None:
        self._make, self._seconds, self._most = make, seconds, most
        # in the order of their last request: a connection that was never heard has a timer
        self._open: dict[RequestHandler, asyncio.TimerHandle | None] = {}
        self._busy: dict[RequestHandler, int] = {}

    def __call__(self) -> RequestHandler:
        self._make_room()
        connection = self._make()
        self._open[connection] = asyncio.get_running_loop().call_later(self._seconds, self._end, connection)
        return connection

    @web.middleware
    async def heard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """For each request: it is answered whatever comes, and its connection is the youngest then."""
        return await self._answered(request.protocol, handler(request))

    async def _answered(self, connection: RequestHandler, answer: Awaitable[web.StreamResponse]) -> web.StreamResponse:
        if (timer := self._open.pop(connection, None)) is not None:
            timer.cancel()
        self._busy[connection] = self._busy.get(connection, 0) + 1
        try:
            return await answer
        finally:
            self._busy[connection] -= 1
            if not self._busy[connection]:
                del self._busy[connection]
                self._open[connection] = None

    def _make_room(self) -> None:
        if len(self._open) < self._most:
            return
        for gone in [one for one in self._open if one.transport is None]:
            self._forget(gone)
        while len(self._open) >= self._most:
            self._end(next(iter(self._open)))

    def _end(self, connection: RequestHandler) -> None:
        self._forget(connection)
        connection.force_close()

    def _forget(self, connection: RequestHandler) -> None:
        if (timer := self._open.pop(connection, None)) is not None:
            timer.cancel()


def raise_file_limit() -> None:
    """As many files as this process may have open at all: a connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
