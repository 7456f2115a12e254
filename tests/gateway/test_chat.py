"""The chat completions API: what is read of a request, what an answer took."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moss.gateway.chat import Chat
from moss.gateway.wire import Asked, Called, Denied, Said, Tokens

from .conftest import chat

CHAT = Chat()


def asked(**more: Any) -> Asked:
    return CHAT.read(json.dumps(chat("how much is it?", **more)).encode())


def test_the_lower_of_two_bounds_holds_times_the_choices() -> None:
    assert asked().most_out is None
    assert asked(max_tokens=50, max_completion_tokens=40, n=2).most_out == 80
    assert asked(max_tokens="many").most_out is None


@settings(deadline=None)
@given(st.binary(max_size=300) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_any_body_is_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(Denied):
        assert CHAT.read(raw).raw == raw


def test_texts_in_parts_are_heard() -> None:
    body = chat("x")
    body["messages"][0]["content"] = [
        {"type": "text", "text": "a"},
        {"type": "image_url"},
        {"type": "text", "text": "b"},
    ]
    assert CHAT.heard(CHAT.read(json.dumps(body).encode())).text == "a\nb"


@pytest.mark.parametrize("stream", [False, True])
def test_what_it_says_is_counted_as_it_says(stream: bool) -> None:
    request = asked(stream=stream)
    frames = CHAT.say(Said("forty two", (Called("f", "{}"),)), request)
    meter = CHAT.meter(request, frames.content_type)
    for piece in frames.pieces:
        meter.feed(piece)
    tokens = meter.tokens()
    assert (tokens.said, tokens.estimated) == (3, False)
    assert meter.complete is stream


def test_cached_tokens_are_a_part_of_the_sent_ones() -> None:
    meter = CHAT.meter(asked(), "application/json")
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 60}}
    meter.feed(json.dumps({"usage": usage}).encode())
    assert meter.tokens() == Tokens(100, 7, 60)


def test_a_stream_without_usage_is_estimated_from_its_words_not_its_wrapping() -> None:
    meter = CHAT.meter(asked(stream=True), "text/event-stream; charset=utf-8")
    for _ in range(10):
        delta = {"role": "assistant", "content": "12345678", "reasoning": "1234"}
        meter.feed(b"data: " + json.dumps({"choices": [{"delta": delta}], "id": "x" * 500}).encode() + b"\n\n")
    tokens = meter.tokens()
    assert (tokens.said, tokens.estimated) == (30, True)


@pytest.mark.parametrize("usage", [{"prompt_tokens": -1, "completion_tokens": 1}, {"prompt_tokens": True}, [], "x", {}])
def test_figures_that_are_none_are_not_believed(usage: object) -> None:
    meter = CHAT.meter(asked(), "application/json")
    meter.feed(json.dumps({"usage": usage}).encode())
    assert meter.tokens().estimated


@settings(deadline=None)
@given(st.lists(st.binary(max_size=100)), st.booleans())
def test_any_answer_is_counted(pieces: list[bytes], stream: bool) -> None:
    meter = CHAT.meter(asked(), "text/event-stream" if stream else "application/json")
    for piece in pieces:
        meter.feed(piece)
    assert meter.tokens().said >= 0


def test_a_refusal_has_the_apis_form() -> None:
    form = json.loads(CHAT.error(Denied(402, "no money", code="budget", kind="insufficient_quota")))
    assert form == {"error": {"message": "no money", "type": "insufficient_quota", "param": None, "code": "budget"}}


def test_a_bound_is_lowered_and_never_raised() -> None:
    stated, unstated = asked(max_tokens=50), asked(n=2)
    assert CHAT.bound(stated, 50) == stated.raw
    assert json.loads(CHAT.bound(stated, 20)) == {**stated.body, "max_tokens": 20}
    assert json.loads(CHAT.bound(unstated, 20)) == {**unstated.body, "max_completion_tokens": 10}
