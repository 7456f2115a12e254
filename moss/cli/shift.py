"""Owns one life of `moss serve`: the controller's loops and the API side by side, begun anew when moss.toml changes.

Invariant: settings that cannot be read never end a serve: it goes on with those it has and says so.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from random import random
from typing import TYPE_CHECKING

import structlog

from moss.api.around import live_line
from moss.cli.session import Session
from moss.errors import MossError

if TYPE_CHECKING:
    import uvicorn

    from moss.engine.serve import Serve
    from moss.wiring import Wiring

LOOK = 1.0
"""seconds between two looks at moss.toml"""

log = structlog.get_logger()


class Shift:
    """`stop` ends it. `listening` None: no API, another serve has it."""

    def __init__(self, session: Session, listening: socket.socket | None) -> None:
        self._session, self._listening = session, listening
        self._wiring = session.wiring
        self.stop = asyncio.Event()

    async def run(self) -> None:
        """Until `stop` is set."""
        api = asyncio.create_task(self._api()) if self._listening is not None else None
        try:
            while not self.stop.is_set():
                await self._until_changed()
        finally:
            if api is not None:
                await api

    async def _until_changed(self) -> None:
        """The loops under one set of settings, until they change or the shift ends."""
        over = asyncio.Event()
        loops = asyncio.create_task(loops_of(self._wiring).run(over))
        seen = self._stamp()
        fresh: Wiring | None = None
        while not self.stop.is_set() and fresh is None and not loops.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), LOOK)
            if (now := self._stamp()) != seen:
                seen, fresh = now, self._read_again()
        over.set()
        await loops
        if fresh is not None:
            self._wiring = fresh
            log.info("settings", says=f"{self._session.file} has changed and is in force")

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self._session.file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def _read_again(self) -> "Wiring | None":
        try:
            return self._session.rewired()
        except MossError as error:
            log.warning("settings", sentence=f"{error}; the settings of before stay in force")
            return None

    async def _api(self) -> None:
        assert self._listening is not None
        server = api_server(lambda: self._wiring)
        served = asyncio.create_task(server.serve(sockets=[self._listening]))
        await asyncio.wait([served, asyncio.create_task(self.stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await served


def loops_of(wiring: "Wiring") -> "Serve":
    """The controller's loops. What must run beside it is kept running: the gateway, and the live agent once adopted."""
    from moss.engine.outbox import Outbox
    from moss.engine.serve import Serve

    def keep_alive() -> None:
        if live_line(wiring).known:
            wiring.keep_alive()
        else:
            wiring.start_gateway()

    outbox = Outbox(wiring.store, wiring.notifiers, wiring.clock, jitter=random)
    return Serve(wiring.parts, wiring.controller, wiring.curator, wiring.desk, outbox, keep_alive)


def api_server(wiring: "Callable[[], Wiring]") -> "uvicorn.Server":
    """The API as uvicorn runs it: our signals stay ours, its access log is off (tokens and names are in there)."""
    import uvicorn

    from moss.api.app import create_app

    class Quiet(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    settings = uvicorn.Config(
        create_app(wiring),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        limit_concurrency=200,
        h11_max_incomplete_event_size=64 << 10,
    )
    return Quiet(settings)
