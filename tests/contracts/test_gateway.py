"""The contract of the gateway, for the real one and for its fake."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import pytest

from moss.config import Upstream
from moss.domain.frozen import sha256
from moss.domain.ids import Digest
from moss.gateway.client import HttpGateway
from moss.gateway.config import GatewayConfig
from moss.gateway.script import read_script
from moss.gateway.wire import Asked, Said
from moss.ports import BoxRole
from moss.testing.conformance.gateway import SCRIPT, Bench, GatewayContract
from moss.testing.gateways import BoxAnswer, MemoryGateway
from moss.testing.models import ModelServer, model_server
from moss.testing.serving import gateway_thread


class MemoryBench:
    def __init__(self) -> None:
        self._calls, self._late = 0, timedelta()
        main = read_script(json.dumps(SCRIPT).encode())
        self.control = MemoryGateway({"main": main, "real": self._real}, self.now)
        self.put, self.ask = self.control.put, self.control.ask

    def _real(self, asked: Asked) -> Said:
        self._calls += 1
        return Said(f"real: {asked.body['messages'][-1]['content']}")

    def paid(self) -> int:
        return self._calls

    def now(self) -> datetime:
        return datetime.now(UTC) + self._late

    def pass_time(self, by: timedelta) -> None:
        self._late += by


class HttpBench:
    def __init__(self, home: Path, model: ModelServer, late: list[timedelta]) -> None:
        self._home, self._model, self._late = home, model, late
        self.control = HttpGateway(home)

    def put(self, data: bytes) -> Digest:
        digest = sha256(data)
        path = self._home / "artifacts" / digest[7:9] / digest[7:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return Digest(digest)

    def ask(self, token: str, body: bytes, upstream: str | None = None, turn: str | None = None) -> BoxAnswer:
        place = self.control.url(BoxRole.TRIAL).removeprefix("http://")
        prefix = f"/u/{upstream}" if upstream else ""
        headers = {"Authorization": f"Bearer {token}"} | ({"X-Moss-Turn": turn} if turn else {})
        connection = HTTPConnection(place, timeout=20)
        try:
            connection.request("POST", f"{prefix}/v1/chat/completions", body, headers)
            answer = connection.getresponse()
            try:
                return BoxAnswer(answer.status, answer.read())
            except IncompleteRead as error:
                return BoxAnswer(answer.status, error.partial, cut=True)
        finally:
            connection.close()

    def paid(self) -> int:
        return len(self._model.reached)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._late[0]

    def pass_time(self, by: timedelta) -> None:
        self._late[0] += by


class TestMemoryGateway(GatewayContract):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        bench = MemoryBench()
        yield bench
        bench.control.shut()


class TestHttpGateway(GatewayContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[Bench]:
        script = tmp_path / "main.json"
        script.write_text(json.dumps(SCRIPT))
        late = [timedelta()]
        with model_server() as model:
            upstreams = (Upstream(name="main", script=script), Upstream(name="real", url=model.url))
            config = GatewayConfig(artifacts=tmp_path / "artifacts", upstreams=upstreams)
            with gateway_thread(tmp_path, config, now=lambda: datetime.now(UTC) + late[0]):
                yield HttpBench(tmp_path, model, late)
