"""The webhook against a real HTTP server: what a receiver sees, and what it may answer."""

import hashlib
import hmac
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from moss.adapters.notify.webhook import Webhook, cloud_event, sign
from moss.adapters.stores.sql import SqlStore
from moss.domain.ids import RunId
from moss.domain.notice import NoticeKind
from moss.engine.outbox import Outbox
from moss.errors import NotifyError, UserError
from moss.ports import Notice
from moss.testing.clock import ManualClock

SECRET = b"s3cr3t-of-the-hook"


@dataclass
class Receiver:
    """A server that answers with `answers` in turn, then 204, and keeps what it got."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(state.answers.pop(0) if state.answers else 204)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/hook?token=in-the-url"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def notice(clock: ManualClock) -> Notice:
    body = {"run": "ev-01", "says": "ü \x1b[31m <b>"}
    return Notice("ev-01/3/released", NoticeKind.RELEASED, clock.now(), RunId("ev-01"), body)


def test_the_body_is_a_cloud_event_with_a_signature_that_verifies(receiver: Receiver, clock: ManualClock) -> None:
    Webhook(receiver.url, SECRET, clock, source="/moss/clerk").send(notice(clock))
    ((path, headers, body),) = receiver.got
    assert path == "/hook?token=in-the-url"
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert json.loads(body) == {
        "specversion": "1.0",
        "id": "ev-01/3/released",
        "source": "/moss/clerk",
        "type": "dev.moss.released",
        "time": "2026-11-25T12:00:00+00:00",
        "datacontenttype": "application/json",
        "subject": "ev-01",
        "data": {"run": "ev-01", "says": "ü \x1b[31m <b>"},
    }
    found = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", headers["x-moss-signature"])
    assert found is not None
    assert int(found[1]) == int(clock.now().timestamp())
    expected = hmac.new(SECRET, found[1].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(expected, found[2])


def test_a_signature_covers_time_and_every_byte() -> None:
    known = sign(SECRET, 1, b"{}")
    assert len({known, sign(SECRET, 2, b"{}"), sign(SECRET, 1, b"{ }"), sign(b"other", 1, b"{}")}) == 4


def test_a_notice_without_a_run_has_no_subject(clock: ManualClock) -> None:
    sealed = Notice("b-01", NoticeKind.BATCH_SEALED, clock.now(), None, {"batch": "b-01"})
    assert "subject" not in json.loads(cloud_event(sealed, "/moss"))


@pytest.mark.parametrize(("status", "says"), [(500, "500"), (404, "404"), (302, "redirects are not followed")])
def test_any_answer_but_success_is_an_error_and_no_redirect_is_followed(
    receiver: Receiver, clock: ManualClock, status: int, says: str
) -> None:
    receiver.answers = [status]
    with pytest.raises(NotifyError, match=says):
        Webhook(receiver.url, SECRET, clock).send(notice(clock))
    assert len(receiver.got) == 1


def test_neither_secret_nor_url_is_said_anywhere(
    receiver: Receiver, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Webhook(receiver.url, SECRET, clock)
    receiver.answers = [500]
    with caplog.at_level(logging.INFO), pytest.raises(NotifyError) as refused:
        hook.send(notice(clock))
    said = f"{refused.value} {hook!r} {hook.name} {caplog.text}"
    assert "s3cr3t" not in said
    assert "token" not in said


def test_a_receiver_that_is_not_there_is_an_error(clock: ManualClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(NotifyError, match=r"127\.0\.0\.1 gave no answer"):
        Webhook(f"http://127.0.0.1:{port}/hook", SECRET, clock).send(notice(clock))


def test_a_url_that_is_none_is_a_users_mistake(clock: ManualClock) -> None:
    with pytest.raises(UserError, match=r"notify\.url"):
        Webhook("http://[::1/hook?token=x", SECRET, clock)


def test_the_environment_names_no_proxy(
    receiver: Receiver, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    Webhook(receiver.url, SECRET, clock).send(notice(clock))
    assert len(receiver.got) == 1


def test_a_receiver_that_fails_first_gets_the_same_notice_after_restarts(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    receiver.answers = [500, 503]
    with SqlStore.open(tmp_path, clock) as store:
        store.enqueue(notice(clock))
    delivered = []
    for _ in range(5):
        with SqlStore.open(tmp_path, clock) as store:
            hook = Webhook(receiver.url, SECRET, clock)
            delivered.append(Outbox(store, [hook], clock).deliver_due())
        clock.tick(60)
    assert delivered == [0, 0, 1, 0, 0]
    assert len({body for _, _, body in receiver.got}) == 1
    assert len({headers["x-moss-signature"] for _, headers, _ in receiver.got}) == 3
