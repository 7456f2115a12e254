"""A box that tries to get more than it was granted: paths, headers, hosts, sizes, slowness, other boxes' tokens."""

import contextlib
import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from moss.config import Upstream
from moss.gateway.script import Script, ScriptRule
from moss.gateway.tokens import admin_token
from moss.testing.models import ModelServer, model_server

from .conftest import Running, chat, gateway, grant


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture
def running(tmp_path: Path, model: ModelServer) -> Iterator[Running]:
    upstreams = (Upstream(name="main", url=model.url), Upstream(name="other", url=model.url))
    with gateway(tmp_path, upstreams=upstreams, body_bytes=100_000, read_seconds=0.4) as each:
        yield each


def raw(running: Running, data: bytes) -> bytes:
    """The whole answer to bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as client:
        client.sendall(data)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        return answer


def request(target: str, *headers: str, body: bytes = b"", size: int | None = None) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: gateway", "Connection: close", *headers]
    lines.append(f"Content-Length: {len(body) if size is None else size}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


BODY = json.dumps(chat("x")).encode()


@pytest.mark.parametrize(
    "target",
    [
        "/v1/embeddings",
        "/",
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1/../v1/chat/completions",
        "/v1/chat%2Fcompletions",
        "/%761/chat/completions",
        "/u/main/../other/v1/chat/completions",
        "/u/main%2F../v1/chat/completions",
        "/u/MAIN/v1/chat/completions",
        "/u//v1/chat/completions",
        "/v1/chat/completions;x",
        "/v1/chat/completions\\x",
        "/_moss/../v1/chat/completions",
    ],
)
def test_a_path_that_is_not_a_route_is_unknown(running: Running, model: ModelServer, target: str) -> None:
    token = running.control.open(grant())
    answer = raw(running, request(target, f"Authorization: Bearer {token}", body=BODY))
    assert answer.split(b"\r\n")[0] in (b"HTTP/1.1 404 Not Found", b"HTTP/1.1 401 Unauthorized")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] in ("not_found", "token")
    assert model.reached == []


@pytest.mark.parametrize(
    "headers",
    [
        ("Host: elsewhere",),
        ("Transfer-Encoding: chunked",),
        ("Content-Length: 3",),
        ("Upgrade: websocket",),
        ("Content-Encoding: gzip",),
        ("X-Odd : 1",),
        ("X-Api-Key: another",),
        ("Authorization: Bearer another",),
    ],
)
def test_a_request_that_can_be_read_in_two_ways_is_refused(
    running: Running, model: ModelServer, headers: tuple[str, ...]
) -> None:
    token = running.control.open(grant())
    answer = raw(running, request("/v1/chat/completions", f"Authorization: Bearer {token}", *headers, body=BODY))
    assert answer.split(b" ")[1] in (b"400", b"401", b"415")
    assert model.reached == []


@pytest.mark.parametrize("target", ["http://other.example/v1/chat/completions", "other.example:443", "*"])
def test_it_is_no_proxy(running: Running, model: ModelServer, target: str) -> None:
    token = running.control.open(grant())
    answer = raw(running, request(target, f"Authorization: Bearer {token}", body=BODY))
    assert answer.split(b" ")[1] in (b"400", b"404")
    assert model.reached == []


def test_the_same_token_twice_is_one_token(running: Running) -> None:
    token = running.control.open(grant())
    assert running.ask(token, chat("x"), **{"x-api-key": token}).status == 200


def test_a_token_in_either_header_is_taken(running: Running) -> None:
    headers = {"x-api-key": running.control.open(grant())}
    assert running.send("POST", "/v1/chat/completions", BODY, headers).status == 200


def test_another_gateways_token_is_refused(running: Running, tmp_path: Path, model: ModelServer) -> None:
    with gateway(tmp_path / "elsewhere") as elsewhere:
        token = elsewhere.control.open(grant())
    answer = running.ask(token, chat("x"))
    assert (answer.status, answer.refusal["type"]) == (401, "authentication_error")
    assert model.reached == []


def test_an_upstream_that_was_not_granted_is_refused_by_its_path(running: Running, model: ModelServer) -> None:
    token = running.control.open(grant())
    answer = running.ask(token, chat("x"), "/u/other/v1/chat/completions")
    assert (answer.status, answer.refusal["code"]) == (403, "upstream_denied")
    assert running.ask(token, chat("x"), "/u/main/v1/chat/completions").status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"model": "m"}',
        b'{"model": "m", "messages": []}',
        b'{"model": "m", "messages": ["x"]}',
        b'{"model": "", "messages": [{}]}',
        b'{"model": "a\\nb", "messages": [{}]}',
        b'{"model": "m", "model": "dear", "messages": [{}]}',
        b'{"model": "m", "messages": [{}], "stream": "yes"}',
        b"\xff\xfe{\x00",
        b'\xef\xbb\xbf{"model": "m", "messages": [{}]}',
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_request_is_refused_in_one_sentence(
    running: Running, model: ModelServer, body: bytes
) -> None:
    answer = running.ask(running.control.open(grant()), body)
    assert (answer.status, answer.refusal["code"]) == (400, "bad_request")
    assert len(answer.refusal["message"]) < 250
    assert model.reached == []


def test_a_body_over_the_bound_is_refused_before_it_is_read(running: Running, model: ModelServer) -> None:
    token = running.control.open(grant())
    answer = raw(running, request("/v1/chat/completions", f"Authorization: Bearer {token}", size=64 << 20))
    assert answer.startswith(b"HTTP/1.1 413")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_large"
    assert model.reached == []


def test_a_body_over_the_bound_in_pieces_is_refused_while_it_is_read(running: Running, model: ModelServer) -> None:
    token = running.control.open(grant())
    chunked = b"".join(b"2710\r\n" + b"x" * 10_000 + b"\r\n" for _ in range(11))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n"
    answer = raw(running, head.encode() + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked)
    assert answer.startswith(b"HTTP/1.1 413")
    assert model.reached == []


def test_a_compressed_bomb_is_not_unpacked(running: Running, model: ModelServer) -> None:
    bomb = gzip.compress(b" " * (50 << 20))
    token = running.control.open(grant())
    answer = running.ask(token, bomb, **{"Content-Encoding": "gzip"})
    assert (answer.status, answer.refusal["code"]) == (415, "encoding")


def test_headers_have_a_bound(running: Running, model: ModelServer) -> None:
    token = running.control.open(grant())
    for odd in (["X-Long: " + "x" * 9000], [f"X-Many-{at}: 1" for at in range(100)]):
        answer = raw(running, request("/v1/chat/completions", f"Authorization: Bearer {token}", *odd, body=BODY))
        assert answer.split(b" ")[1] == b"400"
    assert model.reached == []


def test_a_slow_body_is_given_up(running: Running, model: ModelServer) -> None:
    token = running.control.open(grant())
    answer = raw(running, request("/v1/chat/completions", f"Authorization: Bearer {token}", body=b"{", size=50))
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_slow_head_is_given_up(running: Running) -> None:
    assert raw(running, b"POST /v1/chat/comp") == b""
    assert raw(running, b"") == b""


def test_the_controllers_routes_are_closed_to_boxes(running: Running) -> None:
    token = running.control.open(grant(max_tokens=10))
    for route in ("open", "close", "usage", "record", "live_record", "spending", "reload", "stop", "none"):
        for shown in (token, "", "moss-admin.", admin_token(b"x" * 32)):
            answer = running.ask(shown, {"key": "live"}, f"/_moss/{route}")
            assert answer.status == 401, route
    assert running.ask(token, chat("x")).status in (200, 402)


def test_a_refusal_never_shows_a_token(running: Running) -> None:
    token = running.control.open(grant())
    answer = running.ask(token[:-3], chat("x"))
    assert answer.status == 401
    assert token[10:40].encode() not in answer.body


def test_models_are_those_of_the_grant(running: Running) -> None:
    headers = {"Authorization": f"Bearer {running.control.open(grant(models=('a', 'b')))}"}
    answer = running.send("GET", "/v1/models", b"", headers)
    assert [row["id"] for row in answer.json["data"]] == ["a", "b"]
    assert running.send("GET", "/v1/models", b"", {}).status == 401
    assert running.send("POST", "/v1/models", b"", headers).status == 405
    assert running.send("GET", "/v1/chat/completions", b"", headers).status == 405


def test_a_record_that_is_full_ends_the_box(tmp_path: Path, model: ModelServer) -> None:
    with gateway(tmp_path, upstreams=(Upstream(name="main", url=model.url),), record_bytes=2000) as running:
        token = running.control.open(grant())
        answers = [running.ask(token, chat("x" * 800)) for _ in range(4)]
        assert (answers[0].status, answers[-1].status) == (200, 429)
        assert answers[-1].refusal["code"] == "record_full"


# ------------------------------------------------------------------ many connections


def test_a_thousand_idle_connections_keep_nobody_else_out(tmp_path: Path, model: ModelServer) -> None:
    """Half of them never say a word, half asked once and stay: the next box and the controller are served."""
    hello = b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\n\r\n"
    with (
        gateway(tmp_path, upstreams=(Upstream(name="main", url=model.url),), read_seconds=60.0) as running,
        contextlib.ExitStack() as open_ones,
    ):
        for number in range(1000):
            client = open_ones.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=10))
            if number % 2:
                client.sendall(hello)
                assert client.recv(64).startswith(b"HTTP/1.1 401")
        token = running.control.open(grant())
        assert running.ask(token, chat("x")).status == 200
        assert running.control.usage(grant().key).faults == 0
        left = sum(1 for each in psutil.Process().net_connections() if each.laddr.port == running.port)
        assert left <= 2 * 512, "its ends of them are closed"


def test_more_calls_at_once_than_a_box_may_have_are_its_own_fault(tmp_path: Path, model: ModelServer) -> None:
    rules = (ScriptRule(text="late", delay=20.0),)
    script = tmp_path / "slow.json"
    script.write_bytes(Script(rules=rules).model_dump_json().encode())
    with (
        gateway(tmp_path, upstreams=(Upstream(name="main", script=script),)) as running,
        contextlib.ExitStack() as open_ones,
    ):
        token = running.control.open(grant())
        for _ in range(64):
            client = open_ones.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=10))
            client.sendall(request("/v1/chat/completions", f"Authorization: Bearer {token}", body=BODY))
        while running.control.usage(grant().key).requests < 64:
            pass
        refused = running.ask(token, chat("x"))
        assert (refused.status, refused.refusal["code"]) == (429, "too_many")
        assert running.control.usage(grant().key).faults == 0
