"""A real gateway on a free port, in this process's loop or as a process, and small clients for it."""

import http.client
import json
import time
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
from moss.ports import GatewayMode, Grant
from moss.testing.serving import gateway_thread


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
    late: list[timedelta]
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
    told, late = GatewayConfig(artifacts=artifacts, **config), [timedelta()]

    def now() -> datetime:
        return datetime.now(UTC) + late[0]

    with gateway_thread(home, told, redact=redact, environ=environ or {}, now=now) as control:
        yield Running(home, control, late, artifacts)


def until(holds: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits for a condition."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it never came to hold"
        time.sleep(0.005)


@pytest.fixture
def scripted(tmp_path: Path) -> Callable[..., Upstream]:
    """Makes a scripted upstream of rules."""

    def make(*rules: dict[str, Any], name: str = "main", **more: Any) -> Upstream:
        path = tmp_path / f"{name}.json"
        path.write_bytes(script(*rules))
        return Upstream(name=name, script=path, **more)

    return make
