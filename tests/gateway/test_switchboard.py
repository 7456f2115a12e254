"""The way of a call when something on it is missing, full, broken or closed under it."""

import json
import sqlite3
import threading
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import pytest

from moss.config import Upstream
from moss.domain.case import OnDivergence
from moss.domain.ids import RunId
from moss.errors import GatewayError
from moss.gateway.home import GatewayHome
from moss.gateway.tokens import admin_token
from moss.ports import GatewayMode
from moss.testing.models import Line, Reached, model_server

from .conftest import chat, gateway, grant

Scripted = Callable[..., Upstream]


def test_an_upstream_that_the_gateway_does_not_know_is_the_worlds_fault(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        answer = running.ask(running.control.open(grant()), chat("x"))
        assert (answer.status, answer.refusal["code"]) == (502, "no_upstream")
        assert running.control.usage(grant().key).faults == 1


def test_after_a_divergence_without_an_upstream_nobody_speaks(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        live = grant(mode=GatewayMode.REPLAY, recording=running.put(b""), upstreams=())
        answer = running.ask(running.control.open(live), chat("x"))
        assert (answer.status, answer.refusal["code"]) == (502, "no_upstream")
        script = grant("b", mode=GatewayMode.REPLAY, upstreams=(), on_divergence=OnDivergence.SCRIPT)
        answer = running.ask(running.control.open(script), chat("x"))
        assert (answer.status, answer.refusal["code"]) == (502, "no_script")
        assert [running.control.usage(each.key).faults for each in (live, script)] == [1, 1]


def test_a_script_that_cannot_be_read_is_the_worlds_fault(tmp_path: Path, scripted: Scripted) -> None:
    upstream = scripted({"text": "x"})
    with gateway(tmp_path, upstreams=(upstream,)) as running:
        token = running.control.open(grant())
        assert upstream.script is not None
        upstream.script.write_text('{"rules": 5}')
        answer = running.ask(token, chat("x"))
        assert (answer.status, answer.refusal["code"]) == (502, "bad_script")
        assert "rules" in answer.refusal["message"]
        upstream.script.unlink()
        assert running.ask(token, chat("x")).status == 502
        assert running.control.usage(grant().key).faults == 2


def test_a_model_must_be_both_granted_and_offered(tmp_path: Path, scripted: Scripted) -> None:
    with gateway(tmp_path, upstreams=(scripted({"text": "x"}, models=("a", "b")),)) as running:
        both = running.control.open(grant(models=("b", "c")))
        assert [running.ask(both, chat("x", model=each)).status for each in "abc"] == [403, 200, 403]
        offered = running.control.open(grant("other"))
        assert [running.ask(offered, chat("x", model=each)).status for each in "abc"] == [200, 200, 403]
        names = running.send("GET", "/v1/models", b"", {"Authorization": f"Bearer {both}"})
        assert [row["id"] for row in names.json["data"]] == ["b"]


def test_closing_a_grant_ends_its_call_in_flight(tmp_path: Path) -> None:
    asked, gone = threading.Event(), threading.Event()

    def act(reached: Reached, line: Line) -> None:
        line.head(200, Content_Type="text/event-stream", Transfer_Encoding="chunked")
        line.chunk(b'data: {"choices": [{"delta": {"content": "four letters"}}]}\n\n')
        asked.set()
        if line.gone():
            gone.set()

    with model_server(act) as model, gateway(tmp_path, upstreams=(Upstream(name="main", url=model.url),)) as running:
        connection = HTTPConnection("127.0.0.1", running.port, timeout=10)
        headers = {"Authorization": f"Bearer {running.control.open(grant())}"}
        connection.request("POST", "/v1/chat/completions", json.dumps(chat("x", stream=True)), headers)
        assert asked.wait(5)
        usage = running.control.close(grant().key)
        assert gone.wait(5)
        assert (usage.requests, usage.tokens_out) == (1, 3)
        assert not running.control.record(grant().key)[0].whole
        connection.close()


def test_what_cannot_be_recorded_is_not_sent_but_for_the_live_agent(tmp_path: Path, scripted: Scripted) -> None:
    with gateway(tmp_path, upstreams=(scripted({"text": "said"}),)) as running:
        for folder in (GatewayHome(tmp_path).records, GatewayHome(tmp_path).live):
            folder.rmdir()
            folder.write_text("a file in the place of the folder")
        answer = running.ask(running.control.open(grant()), chat("x"))
        assert (answer.status, answer.refusal["code"]) == (503, "record")
        assert running.control.close(grant().key).faults == 1
        live = grant("live", mode=GatewayMode.RECORD, seconds=None)
        assert running.ask(running.control.open(live), chat("x")).text == "said"
        assert running.control.close(live.key).faults == 1


def test_what_cannot_be_counted_is_not_sent(tmp_path: Path) -> None:
    with model_server() as model, gateway(tmp_path, upstreams=(Upstream(name="main", url=model.url),)) as running:
        token = running.control.open(grant())
        other = sqlite3.connect(GatewayHome(tmp_path).ledger, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        answer = running.ask(token, chat("x"))
        assert (answer.status, answer.refusal["code"]) == (503, "ledger")
        assert model.reached == []
        other.execute("ROLLBACK")
        other.close()
        assert running.ask(token, chat("x")).status == 200
        assert running.control.usage(grant().key).faults == 1


def test_spending_is_told_by_run_and_model(tmp_path: Path) -> None:
    with model_server() as model, gateway(tmp_path, upstreams=(Upstream(name="main", url=model.url),)) as running:
        token = running.control.open(grant())
        for name in ("gpt-4o", "gpt-4o", "local"):
            running.ask(token, chat("x", model=name))
        running.control.close(grant().key)
        rows = running.control.spending(RunId("ev-01"))
        assert [(row.stage, row.upstream, row.model, row.requests, row.tokens_in) for row in rows] == [
            ("trial", "main", "gpt-4o", 2, 20),
            ("trial", "main", "local", 1, 10),
        ]
        assert rows[0].money_usd == pytest.approx(2 * (10 * 2.5 + 5 * 10) / 1e6)
        assert rows[1].money_usd == 0
        assert running.control.spending(RunId("ev-02")) == []


@pytest.mark.parametrize(
    ("route", "body", "status"),
    [("usage", b"{", 400), ("usage", b'{"key": 5}', 400), ("open", b'{"key": "x"}', 400), ("odd", b"{}", 404)],
)
def test_the_controllers_mistakes_are_told_in_one_sentence(
    tmp_path: Path, route: str, body: bytes, status: int
) -> None:
    with gateway(tmp_path) as running:
        admin = admin_token(GatewayHome(tmp_path).secret.read_bytes())
        answer = running.send("POST", f"/_moss/{route}", body, {"Authorization": f"Bearer {admin}"})
        assert answer.status == status
        assert "\n" not in answer.refusal["message"]


def test_a_grant_without_a_readable_answer_is_an_error_of_the_gateway(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        records = GatewayHome(tmp_path).records
        running.control.open(grant())
        secret = GatewayHome(tmp_path).secret
        secret.write_bytes(b"x" * 64)
        with pytest.raises(GatewayError, match=r"refused `usage` \(401\): this route is the controller's"):
            running.control.usage(grant().key)
        assert records.is_dir()


def test_health_is_for_everybody_and_says_little(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        answer = running.send("GET", "/healthz", b"", {})
        assert answer.status == 200
        assert set(answer.json) == {"ok", "boot"}
        assert running.control.boot() == answer.json["boot"]


def test_a_slow_scripted_answer_waits_its_delay(tmp_path: Path, scripted: Scripted) -> None:
    with gateway(tmp_path, upstreams=(scripted({"text": "late", "delay": 0.15}),)) as running:
        running.ask(running.control.open(grant()), chat("x"))
        (exchange,) = running.control.record(grant().key)
        assert exchange.chunks[0].after >= 0.15


def test_a_recorded_slowness_is_replayed_up_to_the_bound(tmp_path: Path, scripted: Scripted) -> None:
    from moss.gateway.recording import dump

    upstreams = (scripted({"text": "late", "delay": 0.3}),)
    with gateway(tmp_path, upstreams=upstreams, replay_seconds=0.1) as running:
        running.ask(running.control.open(grant("rec")), chat("x"))
        recording = running.put(dump(running.control.record(grant("rec").key)))
        replay = grant(mode=GatewayMode.REPLAY, recording=recording)
        running.ask(running.control.open(replay), chat("x"))
        (again,) = running.control.record(replay.key)
        assert 0.1 <= again.chunks[0].after < 0.3
