import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.adapters.turns.http import HttpDriver, _filled
from moss.config import HealthSettings, HttpTurn
from moss.errors import UserError
from moss.ports import Place

from .conftest import Agent, says, silence

BODY = '{"text": "{message}", "meta": {"conversation": "chat {session}", "n": 3}, "list": ["{message}", null]}'


def driver(reply_path: str = "reply", **changes: object) -> HttpDriver:
    turn = HttpTurn.model_validate({"path": "/ask", "body": BODY, "reply_path": reply_path, **changes})
    return HttpDriver(turn, "k3y", HealthSettings())


def test_message_and_session_are_put_in_as_values(agent: Agent) -> None:
    agent.act = says(200, b'{"reply": "Done."}')
    message = '"}, "admin": true, "x": {"y": "{session}'
    answer = driver().send(agent.place, "s 1", message, 5)
    assert (answer.status, answer.text, answer.error) == (200, "Done.", None)
    meta = {"conversation": "chat s 1", "n": 3}
    assert agent.asked == {"text": message, "meta": meta, "list": [message, None]}
    assert "Authorization: Bearer k3y" in agent.head


def test_the_session_in_path_and_header_cannot_break_out(agent: Agent) -> None:
    driver(path="/chats/{session}", headers={"X-Conv": "c-{session}"}).send(agent.place, "a/../b?c", "hi", 5)
    assert agent.head[0] == "POST /chats/a%2F..%2Fb%3Fc HTTP/1.1"
    assert "X-Conv: c-a/../b?c" in agent.head
    assert "cannot be sent" in (driver(headers={"X": "{session}"}).send(agent.place, "a\r\nY: 1", "hi", 5).error or "")


def test_put_is_a_method_too(agent: Agent) -> None:
    driver(method="PUT").send(agent.place, "s", "hi", 5)
    assert agent.head[0] == "PUT /ask HTTP/1.1"


@pytest.mark.parametrize(
    ("path", "body", "text", "error"),
    [
        ("reply", b'{"reply": "a\\u0000b"}', "a\ufffdb", None),
        ("out.0.text", b'{"out": [{"text": "yes"}]}', "yes", None),
        ("reply", b'{"reply": {"a": 1}}', '{"a": 1}', None),
        ("reply", b'{"answer": "x"}', "", "the answer has nothing at `reply`"),
        ("out.7", b'{"out": []}', "", "the answer has nothing at `out.7`"),
        ("out.-1", b'{"out": [1]}', "", "the answer has nothing at `out.-1`"),
        ("reply", b"<html>", "", "the answer is not JSON"),
        ("reply", b"\xff\xfe\0", "", "the answer is not JSON"),
        ("reply", b"[" * 100_000, "", "the answer is not JSON"),
        ("", b"plain \xff words", "plain \ufffd words", None),
    ],
)
def test_the_words_are_at_the_reply_path(agent: Agent, path: str, body: bytes, text: str, error: str | None) -> None:
    agent.act = says(200, body)
    answer = driver(path).send(agent.place, "s", "hi", 5)
    assert (answer.status, answer.text, answer.error) == (200, text, error)


def test_an_error_status_has_no_words_but_a_whole_body_is_shown(agent: Agent) -> None:
    agent.act = says(500, b'{"reply": "half"}')
    assert driver().send(agent.place, "s", "hi", 5).text == ""
    assert driver("").send(agent.place, "s", "hi", 5).text == '{"reply": "half"}'


def test_silence_and_absence_are_errors(agent: Agent, nobody: Place) -> None:
    agent.act = silence
    assert driver().send(agent.place, "s", "hi", 0.1).error == "no answer within 0.1 s"
    assert driver().send(nobody, "s", "hi", 5).error == "connection refused"


def test_a_body_that_is_not_json_is_the_user_s_mistake() -> None:
    with pytest.raises(UserError, match=r"moss\.toml turn\.body: .*must be JSON") as caught:
        driver(body='{"text": {message}}')
    assert caught.value.mend


@given(st.text(), st.text())
def test_a_filled_template_keeps_its_shape(message: str, session: str) -> None:
    filled = _filled(json.loads(BODY), {"message": message, "session": session})
    assert filled == {
        "text": message,
        "meta": {"conversation": f"chat {session}", "n": 3},
        "list": [message, None],
    }
