"""A real upstream behind the gateway: bytes as they come, faults as they were, keys where they belong."""

import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from moss.config import Secret, Upstream
from moss.gateway.upstream import join
from moss.testing.models import Line, ModelServer, Reached, completion, model_server

from .conftest import Running, chat, gateway, grant, until

KEY = "sk-live-0123456789abcdef"


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture
def running(tmp_path: Path, model: ModelServer) -> Iterator[Running]:
    upstream = Upstream(name="main", url=model.url, key=Secret(env="MAIN_KEY"))
    with gateway(
        tmp_path, environ={"MAIN_KEY": KEY}, upstreams=(upstream,), idle_seconds=1.0, write_seconds=0.5
    ) as each:
        yield each


def delta(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


def test_the_request_goes_on_unchanged_with_the_upstreams_key(running: Running, model: ModelServer) -> None:
    token = running.control.open(grant())
    raw = b'{ "model":"m",  "messages":[{"role":"user","content":"\\u00fc \xc3\xbc"}]}'
    answer = running.ask(token, raw, **{"User-Agent": "clerk/1", "Cookie": "a=b", "X-Forwarded-For": "1.2.3.4"})
    assert answer.text == "real: ü ü"
    (reached,) = model.reached
    assert (reached.body, reached.path) == (raw, "/v1/chat/completions")
    assert reached.headers["authorization"] == f"Bearer {KEY}"
    assert reached.headers["accept-encoding"] == "identity"
    assert reached.headers["user-agent"] == "clerk/1"
    assert not {"cookie", "x-forwarded-for", "x-moss-turn"} & set(reached.headers)
    assert token not in str(reached)


def test_pieces_come_as_they_are_sent(running: Running, model: ModelServer) -> None:
    may_go_on = threading.Event()

    def act(reached: Reached, line: Line) -> None:
        line.head(200, Content_Type="text/event-stream", Transfer_Encoding="chunked")
        line.chunk(delta("first"))
        # the second piece is sent only once the client has the first
        assert may_go_on.wait(10)
        line.chunk(delta("second"))
        line.chunk(b"data: [DONE]\n\n")
        line.chunk(b"")

    model.act = act
    connection = HTTPConnection("127.0.0.1", running.port, timeout=10)
    headers = {"Authorization": f"Bearer {running.control.open(grant())}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(chat("x", stream=True)), headers)
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"
    assert answer.read1() == delta("first")
    may_go_on.set()
    assert answer.read() == delta("second") + b"data: [DONE]\n\n"
    connection.close()
    (exchange,) = running.control.record(grant().key)
    assert exchange.chunks[0].data == delta("first")
    assert (exchange.whole, exchange.cut, exchange.origin) == (True, False, "live")


def test_a_client_that_leaves_hangs_up_the_upstream(running: Running, model: ModelServer) -> None:
    gone = threading.Event()

    def act(reached: Reached, line: Line) -> None:
        line.head(200, Content_Type="text/event-stream", Transfer_Encoding="chunked")
        line.chunk(delta("first"))
        if line.gone():
            gone.set()

    model.act = act
    connection = HTTPConnection("127.0.0.1", running.port, timeout=10)
    headers = {"Authorization": f"Bearer {running.control.open(grant())}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(chat("x", stream=True)), headers)
    connection.getresponse().read1()
    connection.close()
    assert gone.wait(5)
    (exchange,) = running.control.record(grant().key)
    assert (exchange.whole, exchange.cut) == (False, False)
    assert running.control.usage(grant().key).faults == 0


def test_a_client_that_leaves_after_the_end_was_told_has_a_whole_answer(running: Running, model: ModelServer) -> None:
    gone = threading.Event()

    def act(reached: Reached, line: Line) -> None:
        line.head(200, Content_Type="text/event-stream", Transfer_Encoding="chunked")
        line.chunk(delta("all of it") + b"data: [DONE]\n\n")
        if line.gone():
            gone.set()

    model.act = act
    connection = HTTPConnection("127.0.0.1", running.port, timeout=10)
    headers = {"Authorization": f"Bearer {running.control.open(grant())}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(chat("x", stream=True)), headers)
    connection.getresponse().read1()
    connection.close()
    assert gone.wait(5)
    assert running.control.record(grant().key)[0].whole


def test_a_client_that_leaves_before_the_first_byte_is_billed_for_its_request(
    running: Running, model: ModelServer
) -> None:
    asked, gone = threading.Event(), threading.Event()

    def act(reached: Reached, line: Line) -> None:
        asked.set()
        if line.gone():
            gone.set()

    model.act = act
    connection = HTTPConnection("127.0.0.1", running.port, timeout=10)
    headers = {"Authorization": f"Bearer {running.control.open(grant())}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(chat("x" * 400)), headers)
    assert asked.wait(5)
    connection.close()
    assert gone.wait(5)
    until(lambda: running.control.usage(grant().key).tokens_in >= 100)
    assert running.control.usage(grant().key).estimated == 1


def test_a_cut_stream_is_cut_for_the_client_too(running: Running, model: ModelServer) -> None:
    def act(reached: Reached, line: Line) -> None:
        line.head(200, Content_Type="text/event-stream", Transfer_Encoding="chunked")
        line.chunk(delta("half an ans"))
        raise ConnectionAbortedError

    model.act = act
    answer = running.ask(running.control.open(grant()), chat("x", stream=True))
    assert (answer.error, answer.body) == ("IncompleteRead", delta("half an ans"))
    (exchange,) = running.control.record(grant().key)
    assert exchange.cut
    assert running.control.usage(grant().key).faults == 1


def test_a_body_shorter_than_promised_stays_so(running: Running, model: ModelServer) -> None:
    def act(reached: Reached, line: Line) -> None:
        line.head(200, Content_Type="application/json", Content_Length="500")
        line.send(b'{"choices":')
        raise ConnectionAbortedError

    model.act = act
    answer = running.ask(running.control.open(grant()), chat("x"))
    assert (answer.error, answer.body, answer.headers["Content-Length"]) == ("IncompleteRead", b'{"choices":', "500")


@pytest.mark.parametrize("status", [400, 404, 429, 500, 529])
def test_an_upstreams_error_reaches_the_client_as_it_was(running: Running, model: ModelServer, status: int) -> None:
    def act(reached: Reached, line: Line) -> None:
        body = b'{"error": {"message": "as it was", "odd": [1]}}'
        line.head(
            status,
            Content_Type="application/json; x=y",
            Content_Length=str(len(body)),
            Retry_After="7",
            Set_Cookie="a=b",
            X_RateLimit_Remaining="0",
        )
        line.send(body)

    model.act = act
    answer = running.ask(running.control.open(grant()), chat("x"))
    assert (answer.status, answer.body) == (status, b'{"error": {"message": "as it was", "odd": [1]}}')
    assert answer.headers["Content-Type"] == "application/json; x=y"
    assert (answer.headers["Retry-After"], answer.headers["X-RateLimit-Remaining"]) == ("7", "0")
    assert "Set-Cookie" not in answer.headers
    usage = running.control.usage(grant().key)
    assert (usage.faults, usage.tokens_in) == (1 if status in (429, 500, 529) else 0, 0)


def test_a_refused_key_is_told_without_a_letter_of_it(running: Running, model: ModelServer) -> None:
    model.act = lambda reached, line: line.json(401, {"error": {"message": f"Incorrect key: {KEY[:8]}***{KEY[-4:]}"}})
    answer = running.ask(running.control.open(grant()), chat("x"))
    assert answer.status == 401
    assert answer.refusal["code"] == "upstream_key"
    assert KEY[-4:].encode() not in answer.body


def test_an_answer_that_repeats_the_key_is_blanked(running: Running, model: ModelServer) -> None:
    def act(reached: Reached, line: Line) -> None:
        body = json.dumps({"error": reached.headers["authorization"]}).encode()
        line.head(500, Content_Type="application/json", Content_Length=str(len(body)))
        for at in range(0, len(body), 7):
            line.send(body[at : at + 7])

    model.act = act
    answer = running.ask(running.control.open(grant()), chat("x"))
    assert KEY.encode() not in answer.body
    assert b"****" in answer.body
    (exchange,) = running.control.record(grant().key)
    assert KEY not in exchange.model_dump_json()


def test_a_redirect_is_not_followed(running: Running, model: ModelServer) -> None:
    with model_server() as elsewhere:
        model.act = lambda reached, line: line.head(307, Location=f"{elsewhere.url}/v1/x", Content_Length="0")
        answer = running.ask(running.control.open(grant()), chat("x"))
        assert (answer.status, answer.refusal["code"]) == (502, "redirect")
        assert elsewhere.reached == []


def test_an_upstream_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with gateway(tmp_path, upstreams=(Upstream(name="main", url=url),)) as running:
            answer = running.ask(running.control.open(grant()), chat("x"))
            assert (answer.status, answer.refusal["code"]) == (502, "upstream_lost")
            usage = running.control.usage(grant().key)
            assert (usage.faults, usage.tokens_in) == (1, 0)
            assert running.control.record(grant().key)[0].status == 502


@pytest.mark.slow
def test_an_upstream_that_says_nothing_is_given_up(running: Running, model: ModelServer) -> None:
    model.act = lambda reached, line: line.gone() and None
    answer = running.ask(running.control.open(grant()), chat("x"))
    assert (answer.status, answer.refusal["code"]) == (504, "upstream_lost")
    assert running.control.usage(grant().key).faults == 1


def test_a_key_that_is_not_set_is_named_by_its_place(tmp_path: Path, model: ModelServer) -> None:
    upstream = Upstream(name="main", url=model.url, key=Secret(env="NO_SUCH"))
    with gateway(tmp_path, upstreams=(upstream,)) as running:
        answer = running.ask(running.control.open(grant()), chat("x"))
        assert answer.status == 503
        assert "environment variable NO_SUCH is not set" in answer.refusal["message"]
        assert model.reached == []


def test_an_upstream_of_another_api_is_not_asked(tmp_path: Path, model: ModelServer) -> None:
    upstream = Upstream(name="main", url=model.url, api="anthropic")
    with gateway(tmp_path, upstreams=(upstream,)) as running:
        answer = running.ask(running.control.open(grant()), chat("x"))
        assert (answer.status, answer.refusal["code"]) == (404, "other_api")
        assert model.reached == []


def test_a_client_that_never_reads_is_dropped(running: Running, model: ModelServer) -> None:
    dropped = threading.Event()

    def act(reached: Reached, line: Line) -> None:
        line.head(200, Content_Type="text/event-stream", Transfer_Encoding="chunked")
        try:
            while True:
                line.chunk(b": " + b"x" * 65536 + b"\n\n")
        finally:
            dropped.set()

    model.act = act
    raw = json.dumps(chat("x", stream=True)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {running.control.open(grant())}\r\n"
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(raw) + raw)
        assert dropped.wait(15)
    (exchange,) = running.control.record(grant().key)
    assert not exchange.whole


def test_a_stream_without_an_end_ends_with_the_grants_time(tmp_path: Path, model: ModelServer) -> None:
    def act(reached: Reached, line: Line) -> None:
        line.head(200, Content_Type="text/event-stream", Transfer_Encoding="chunked")
        line.chunk(delta("on and on"))
        line.gone()

    model.act = act
    with gateway(tmp_path, upstreams=(Upstream(name="main", url=model.url),), call_seconds=0.3) as running:
        answer = running.ask(running.control.open(grant()), chat("x", stream=True))
        assert (answer.error, answer.body) == ("IncompleteRead", delta("on and on"))


def test_a_long_answer_is_kept_only_in_part_and_never_replayed(tmp_path: Path, model: ModelServer) -> None:
    model.act = lambda reached, line: line.json(200, completion("x" * 5000))
    with gateway(tmp_path, upstreams=(Upstream(name="main", url=model.url),), kept_bytes=1000) as running:
        assert len(running.ask(running.control.open(grant()), chat("x")).text) == 5000
        (exchange,) = running.control.record(grant().key)
        assert not exchange.whole
        running.ask(running.control.open(grant()), chat("x"))
        assert len(model.reached) == 2


def test_bases_are_taken_with_and_without_a_version() -> None:
    for base in ("http://h/v1", "http://h/v1/", "http://h", "http://h/"):
        assert join(base, "/v1/chat/completions") == "http://h/v1/chat/completions"
    assert join("http://h/openai/v1", "/v1/chat/completions") == "http://h/openai/v1/chat/completions"
