import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moss.adapters.turns.exchange import BODY, Got, plain, tidy
from moss.adapters.turns.openai import OpenAiDriver, _answer
from moss.config import HealthSettings, OpenAiTurn
from moss.domain.trial import Answer
from moss.ports import Place
from tests.pace import at_most

from .conftest import Act, Agent, drip, drip_head, flood, raw, says, silence

DRIVER = OpenAiDriver(OpenAiTurn(), None, HealthSettings())


def completion(content: object) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


def test_only_the_new_message_is_sent_with_session_key_and_the_user_s_headers(agent: Agent) -> None:
    agent.act = says(200, completion("Order 1017 is refunded."))
    turn = OpenAiTurn(path="/chat", model="m", session_header="X-Conv", headers={"X-Team": "shop"})
    answer = OpenAiDriver(turn, "k3y", HealthSettings()).send(agent.place, "s-1", 'say "hi" \u2028 {session}', 5)
    assert (answer.status, answer.text, answer.error) == (200, "Order 1017 is refunded.", None)
    assert json.loads(answer.body)["choices"]
    assert agent.asked == {
        "model": "m",
        "messages": [{"role": "user", "content": 'say "hi" \u2028 {session}'}],
        "stream": False,
    }
    assert agent.head[0] == "POST /chat HTTP/1.1"
    assert {"X-Conv: s-1", "X-Team: shop", "Authorization: Bearer k3y"} <= set(agent.head)


def test_without_a_key_no_authorization_is_sent(agent: Agent) -> None:
    DRIVER.send(agent.place, "s", "hi", 5)
    assert not [line for line in agent.head if line.lower().startswith("authorization")]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hi", "hi"),
        (None, ""),
        ([{"type": "text", "text": "a"}, {"type": "image"}, "x", {"type": "text", "text": "b"}], "ab"),
        ("a\0b\ud800c", "a\ufffdb?c"),
    ],
)
def test_the_agent_s_words_are_taken_from_every_form_of_content(agent: Agent, content: object, text: str) -> None:
    agent.act = says(200, completion(content))
    answer = DRIVER.send(agent.place, "s", "hi", 5)
    assert (answer.text, answer.error) == (text, None)
    assert Answer.model_validate_json(answer.model_dump_json()) == answer


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"choices": []}', completion(5), b"[" * 100_000])
def test_garbage_is_no_chat_completion(agent: Agent, body: bytes) -> None:
    agent.act = says(200, body)
    answer = DRIVER.send(agent.place, "s", "hi", 5)
    assert (answer.status, answer.text, answer.error) == (200, "", "the answer is not a chat completion")


def test_an_error_status_is_an_answer_without_words(agent: Agent) -> None:
    agent.act = says(502, b'{"error": {"message": "no model"}}')
    answer = DRIVER.send(agent.place, "s", "hi", 5)
    assert (answer.status, answer.text, answer.error) == (502, "", None)
    assert "no model" in answer.body


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (silence, "no answer within 0.3 s"),
        (drip_head, "no answer within 0.3 s"),
        (drip, "the answer did not end within 0.3 s"),
        (raw(b""), "the connection ended without an answer"),
        (raw(b"SSH-2.0-OpenSSH\r\n"), "the answer is not HTTP (BadStatusLine)"),
        (raw(b"HTTP/1.1 200 X\r\n" + b"A: b\r\n" * 200 + b"\r\n"), "the answer is not HTTP (HTTPException)"),
        (raw(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"), "the connection ended in the middle"),
        (raw(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "the connection ended in the middle"),
        (says(200, b"{}", length=50), "the connection ended in the middle of the answer"),
        (says(200, b"{}", length=-5), None),
    ],
    ids=["silence", "drip-head", "drip", "hang-up", "ssh", "headers", "chunk-cut", "chunk-bad", "short", "negative"],
)
def test_no_answer_is_an_error_in_words_and_in_time(agent: Agent, act: Act, error: str | None) -> None:
    agent.act = act
    answer = DRIVER.send(agent.place, "s", "hi", 0.3)
    assert answer.text == ""
    assert answer.seconds < at_most(1.0)
    assert error is None or error in (answer.error or "")


def test_a_reset_is_an_error(agent: Agent) -> None:
    def reset(connection, _, __) -> None:  # type: ignore[no-untyped-def]
        connection.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SOL_SOCKET, SO_LINGER 0: RST instead of FIN
        connection.close()

    agent.act = reset
    assert DRIVER.send(agent.place, "s", "hi", 5).error == "the connection was reset"


def test_nobody_there_is_an_error(nobody: Place) -> None:
    answer = DRIVER.send(nobody, "s", "hi", 5)
    assert (answer.status, answer.error) == (None, "connection refused")


def test_a_session_that_no_header_can_carry_is_an_error_and_nothing_is_sent(agent: Agent) -> None:
    for session in ("a\r\nX-Admin: yes", "\u0416"):
        assert "cannot be sent" in (DRIVER.send(agent.place, session, "hi", 5).error or "")
    assert not [request for request in agent.seen if b"X-Admin" in request]


def test_the_settings_bound_wins_over_a_longer_one(agent: Agent) -> None:
    agent.act = silence
    driver = OpenAiDriver(OpenAiTurn(seconds=0.1), None, HealthSettings())
    assert driver.send(agent.place, "s", "hi", 60).error == "no answer within 0.1 s"


def test_100_mb_are_cut_at_1_mib_in_bounded_memory(agent: Agent) -> None:
    agent.act = flood
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    answer = DRIVER.send(agent.place, "s", "hi", 20)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert (answer.status, answer.text, answer.error) == (200, "", "the answer is longer than 1 MiB")
    assert len(answer.body.encode()) <= BODY
    assert peak < 24 << 20


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=8).map(completion)
)
def test_whatever_came_is_an_answer_that_can_be_stored(body: bytes) -> None:
    answer = _answer(Got(200, body))
    assert Answer.model_validate_json(answer.model_dump_json()) == answer
    assert "\0" not in answer.text + answer.body


@given(st.binary(max_size=64))
def test_bytes_become_text_that_every_store_takes(data: bytes) -> None:
    assert "\0" not in plain(data)
    assert tidy(plain(data)) == plain(data)
