"""Owns running the real gateway in a thread of a test's own process: on a free port, ended with the block."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from moss.gateway.call import Redact
from moss.gateway.client import HttpGateway
from moss.gateway.config import GatewayConfig, save_config
from moss.gateway.home import GatewayHome
from moss.gateway.running import Gateway, utc_now

SECONDS = 20.0


@contextmanager
def gateway_thread(
    home: Path,
    config: GatewayConfig,
    *,
    redact: Redact = bytes,
    environ: Mapping[str, str] = MappingProxyType({}),
    now: Callable[[], datetime] = utc_now,
) -> Iterator[HttpGateway]:
    """The gateway of `home`, listening. Raises: what kept it from starting, or broke it."""
    thread = _Serving(home, config, redact, environ, now)
    thread.start()
    try:
        assert thread.ready.wait(SECONDS), "the gateway did not get ready"
        if thread.failed is None:
            yield HttpGateway(home)
    finally:
        thread.end()
        thread.join(SECONDS)
    assert not thread.is_alive(), "the gateway did not end"
    if thread.failed is not None:
        raise thread.failed


class _Serving(threading.Thread):
    def __init__(
        self,
        home: Path,
        config: GatewayConfig,
        redact: Redact,
        environ: Mapping[str, str],
        now: Callable[[], datetime],
    ) -> None:
        super().__init__(name="gateway")
        self._place, self._config, self._redact, self._environ, self._now = (
            GatewayHome(home),
            config,
            redact,
            environ,
            now,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done: asyncio.Event | None = None
        self.ready = threading.Event()
        self.failed: Exception | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            # told to the test, which raises it
            self.failed = error
        finally:
            self.ready.set()

    async def _serve(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        self._place.make()
        save_config(self._place.config, self._config)
        gateway = Gateway(self._place, self._config, self._environ, self._redact, self._now)
        try:
            await gateway.start()
            self.ready.set()
            await self._done.wait()
        finally:
            await gateway.close()

    def end(self) -> None:
        if self._loop is not None and self._done is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._done.set)
