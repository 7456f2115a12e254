"""Owns the gateway's process: puts its parts together, listens, says where, and ends in good order.

Never a request. Invariant: `state.json` is written only once it listens. The caller holds the home's lock.
"""

import asyncio
import os
import secrets
import signal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import psutil
import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from moss.errors import UserError
from moss.files import write_durably
from moss.gateway.admin import Admin
from moss.gateway.call import Redact
from moss.gateway.config import GatewayConfig, load_config
from moss.gateway.connections import Connections, raise_file_limit
from moss.gateway.home import GatewayHome, GatewayState, secret_of
from moss.gateway.ledger import Ledger
from moss.gateway.logs import http_log
from moss.gateway.prices import load_prices
from moss.gateway.records import Records
from moss.gateway.server import GatewayServer
from moss.gateway.switchboard import Switchboard
from moss.gateway.upstream import Upstreams

log = structlog.get_logger()

SHUTDOWN_SECONDS = 5.0
KEEPALIVE_SECONDS = 75.0
PRUNE_EVERY = 3600.0
LINE_BYTES = 8190


def utc_now() -> datetime:
    return datetime.now(UTC)


class Gateway:
    """One gateway in this process. `start`, then `until_stopped`, then `close`."""

    def __init__(
        self,
        home: GatewayHome,
        config: GatewayConfig,
        environ: Mapping[str, str],
        redact: Redact = bytes,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._home, self._config, self._now = home, config, now
        self._boot, self._stop = secrets.token_hex(8), asyncio.Event()
        home.make()
        secret = secret_of(home.secret)
        self._ledger = Ledger(home.ledger)
        self._records = Records(home.records, home.live, config.record_bytes, config.live_day_bytes)
        self._upstreams = Upstreams(environ, config.idle_seconds)
        prices = load_prices(config.prices)
        self._board = Switchboard(config, self._ledger, self._records, self._upstreams, prices, redact, now)
        admin = Admin(self._board, self._ledger, self._records, secret, now, self._boot, self._reload, self._stop.set)
        app = GatewayServer(self._board, self._ledger, admin, secret, now).app()
        self._runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            logger=http_log,
            handler_cancellation=True,
            auto_decompress=False,
            max_line_size=LINE_BYTES,
            max_field_size=LINE_BYTES,
            max_headers=64,
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=1.0,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        self._connections = Connections(self._handler, config.read_seconds)
        app.middlewares.append(self._connections.heard)
        self._listening: asyncio.Server | None = None
        self._door: asyncio.Server | None = None
        self._pruning: asyncio.Task[None] | None = None

    async def start(self) -> GatewayState:
        """Listens and writes where. Raises: UserError when the port is taken."""
        raise_file_limit()
        await self._runner.setup()
        self._listening = await self._listen()
        self._door = await self._open_door()
        port = self._listening.sockets[0].getsockname()[1]
        born = psutil.Process().create_time()
        state = GatewayState(host=self._config.host, port=port, pid=os.getpid(), born=born, boot=self._boot)
        write_durably(self._home.state, state.model_dump_json().encode())
        self._pruning = asyncio.create_task(self._prune())
        log.info("listening", host=state.host, port=state.port, boot=state.boot)
        return state

    async def until_stopped(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        await self._stop.wait()

    async def close(self) -> None:
        """Takes nothing new, gives calls in flight a few seconds, ends the rest; all are settled."""
        if self._pruning is not None:
            self._pruning.cancel()
        for listening in (self._listening, self._door):
            if listening is not None:
                listening.close()
        await self._runner.cleanup()
        await self._upstreams.close()
        self._ledger.close()

    async def _listen(self) -> asyncio.Server:
        """At the configured port; for port 0 at the last one if it is free, so that a restart keeps its address."""
        wanted = [self._config.port]
        if self._config.port == 0 and (last := last_state(self._home)) is not None:
            wanted.insert(0, last.port)
        for port in wanted:
            try:
                return await asyncio.get_running_loop().create_server(self._connections, self._config.host, port)
            except OSError as error:
                failed = error
        place = f"{self._config.host}:{self._config.port}"
        raise UserError(f"the gateway cannot listen on {place}: {failed.strerror}", where="gateway.port")

    async def _open_door(self) -> asyncio.Server:
        """The same gateway for boxes without a network. Named by a descriptor: a socket's path may only be short."""
        folder = os.open(self._home.door, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            path = f"/proc/self/fd/{folder}/gateway.sock"
            return await asyncio.get_running_loop().create_unix_server(self._connections, path)
        finally:
            os.close(folder)

    def _handler(self) -> RequestHandler:
        assert self._runner.server is not None
        return self._runner.server()

    def _reload(self) -> None:
        """Takes up the configuration file; host, port and bounds of the process stay until a restart."""
        config = load_config(self._home.config)
        self._board.use(config, load_prices(config.prices))
        log.info("configuration taken up")

    async def _prune(self) -> None:
        while True:
            now = self._now()
            self._records.prune(now, self._config.record_days)
            self._records.prune_live(now, self._config.live_days)
            self._ledger.prune_turns(now - timedelta(days=self._config.live_days))
            await asyncio.sleep(PRUNE_EVERY)


def last_state(home: GatewayHome) -> GatewayState | None:
    """What the last gateway of this home said of itself; None without one."""
    try:
        return GatewayState.model_validate_json(home.state.read_bytes())
    except (OSError, ValueError):
        return None
