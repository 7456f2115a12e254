"""A real gateway on a free port, in this process's loop or as a process, and small clients for it."""

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from moss.config import Upstream
from moss.domain.frozen import sha256
from moss.domain.ids import Digest, Key, RunId
from moss.gateway.client import HttpGateway
from moss.gateway.config import GatewayConfig
from moss.gateway.home import GatewayHome
from moss.gateway.running import Gateway
from moss.ports import GatewayMode, Grant


@dataclass
class Answered:
    """What a client got. `error`: how the connection ended early."""

    status: int
    headers: dict[str, str]
    body: bytes
    error: str | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return str(self.json["choices"][0]["message"]["content"])

    @property
    def refusal(self) -> dict[str, Any]:
        return dict(self.json["error"])


@dataclass
class Running:
    """A gateway that runs in a thread of its own."""

    home: Path
    control: HttpGateway
    clock: list[timedelta]
    artifacts: Path

    @property
    def port(self) -> int:
        from moss.ports import BoxRole

        return int(self.control.url(BoxRole.TRIAL).rpartition(":")[2])

    def put(self, data: bytes) -> Digest:
        """Stores an artifact as the store does."""
        digest = Digest(sha256(data))
        path = self.artifacts / digest[7:9] / digest[7:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return digest

    def ask(self, token: str, body: Any, path: str = "/v1/chat/completions", **headers: str) -> Answered:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, raw, {"Authorization": f"Bearer {token}", **headers})

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answered:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            kept = dict(answer.getheaders())
            try:
                return Answered(answer.status, kept, answer.read())
            except http.client.IncompleteRead as error:
                return Answered(answer.status, kept, error.partial, type(error).__name__)
        finally:
            connection.close()


def chat(text: str, *, model: str = "m", **more: Any) -> dict[str, Any]:
    """A request with one user message."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def grant(key: str = "ev-01/trial/1", *, mode: GatewayMode = GatewayMode.LIVE, **more: Any) -> Grant:
    more.setdefault("upstreams", ("main",))
    return Grant(key=Key(key), run=RunId("ev-01"), stage="trial", mode=mode, **more)


def script(*rules: dict[str, Any]) -> bytes:
    return json.dumps({"version": 1, "rules": list(rules)}).encode()


@contextmanager
def gateway(
    home: Path, redact: Callable[[bytes], bytes] = bytes, environ: dict[str, str] | None = None, **config: Any
) -> Iterator[Running]:
    """A gateway of `home` for the block's time."""
    artifacts = home / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    told = GatewayConfig(artifacts=artifacts, **config)
    clock = [timedelta()]
    ready, done = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    failed: list[BaseException] = []

    async def run() -> None:
        running = Gateway(GatewayHome(home), told, environ or {}, redact, lambda: datetime.now(UTC) + clock[0])
        try:
            await running.start()
            loops.append(asyncio.get_running_loop())
            ready.set()
            await done.wait()
        finally:
            await running.close()

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(10)
        if failed:
            raise failed[0]
        yield Running(home, HttpGateway(home), clock, artifacts)
    finally:
        if loops and not loops[0].is_closed():
            loops[0].call_soon_threadsafe(done.set)
        thread.join(20)
        assert not thread.is_alive()
    if failed:
        raise failed[0]


@pytest.fixture
def scripted(tmp_path: Path) -> Callable[..., Upstream]:
    """Makes a scripted upstream of rules."""

    def make(*rules: dict[str, Any], name: str = "main", **more: Any) -> Upstream:
        path = tmp_path / f"{name}.json"
        path.write_bytes(script(*rules))
        return Upstream(name=name, script=path, **more)

    return make
