"""What the gateway's record says of tools, and that no record makes it raise or believe a candidate's word."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.domain.dialogue import LARGEST, answered_calls, last_words, read_json, request_texts
from moss.domain.evidence import Chunk, Exchange
from moss.domain.ids import Digest

USER = {"role": "user", "content": "refund order 7"}


def exchange(ordinal: int, messages: object, answer: object, **more: object) -> Exchange:
    """One exchange; `answer` is JSON for a plain answer, bytes for a raw one."""
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    plain = Exchange(
        ordinal=ordinal,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        upstream="main",
        path="/v1/chat/completions",
        request=messages if isinstance(messages, bytes) else json.dumps({"messages": messages}).encode(),
        canonical=Digest("sha256:" + "0" * 64),
        status=200,
        chunks=(Chunk(data=data),),
    )
    return plain.model_copy(update=more)


def call(id: str, name: str = "refund", arguments: str = '{"order": 7}') -> dict[str, object]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def says(*calls: dict[str, object], text: str | None = None) -> dict[str, object]:
    return {"choices": [{"message": {"role": "assistant", "content": text, "tool_calls": list(calls)}}]}


def result(id: str, content: object = "ok") -> dict[str, object]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def asked(*calls: dict[str, object]) -> dict[str, object]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def test_a_call_is_one_that_the_model_asked_and_the_agent_answered() -> None:
    found = answered_calls(
        [
            exchange(2, [USER, asked(call("c1")), result("c1", "paid back")], says(text="done")),
            exchange(1, [USER], says(call("c1"))),
        ]
    )
    assert [(one.name, one.arguments, one.result) for one in found] == [("refund", '{"order": 7}', "paid back")]


def test_a_tool_that_was_skipped_was_not_called() -> None:
    assert answered_calls([exchange(1, [USER], says(call("c1")))]) == ()
    assert answered_calls([exchange(1, [USER], says(call("c1"))), exchange(2, [USER], says())]) == ()


def test_a_call_told_in_the_history_alone_was_not_called() -> None:
    told = [USER, asked(call("made-up")), result("made-up")]
    assert answered_calls([exchange(1, told, says(text="done"))]) == ()


def test_calls_of_an_earlier_turn_with_the_same_id_do_not_count() -> None:
    history = [USER, asked(call("c1")), result("c1"), USER]
    skipped = [exchange(1, history, says(call("c1"))), exchange(2, history, says(text="done"))]
    assert answered_calls(skipped) == ()
    done = [*skipped[:1], exchange(2, [*history, asked(call("c1")), result("c1", "new")], says(text="done"))]
    assert [one.result for one in answered_calls(done)] == ["new"]


def test_a_call_whose_first_try_was_lost_counts_once() -> None:
    again = [
        exchange(1, [USER], says(call("c1", arguments="{"))),
        exchange(2, [USER], says(call("c1"))),
        exchange(3, [USER, asked(call("c1")), result("c1")], says(text="done")),
    ]
    assert [one.arguments for one in answered_calls(again)] == ['{"order": 7}']


def test_two_calls_without_ids_are_told_apart_by_their_order() -> None:
    both = (call("", "first"), call("", "second"))
    found = answered_calls(
        [
            exchange(1, [USER], says(*both)),
            exchange(2, [USER, asked(*both), result("", "1"), result("", "2")], says(text="done")),
        ]
    )
    assert [(one.name, one.result) for one in found] == [("first", "1"), ("second", "2")]


def test_a_result_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    found = answered_calls(
        [exchange(1, [USER], says(call("c1"))), exchange(2, [result("c1", parts)], says(text="done"))]
    )
    assert found[0].result == "a\nb"


def event(**delta: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"


def test_a_streamed_call_is_put_together_by_its_index() -> None:
    stream = (
        event(role="assistant", content=None)
        + event(tool_calls=[{"index": 1, "id": "c2", "function": {"name": "note", "arguments": "{}"}}])
        + event(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "refund", "arguments": '{"ord'}}])
        + event(tool_calls=[{"index": 0, "function": {"arguments": 'er": 7}'}}, {"index": None}])
        + b": a comment\n\ndata: [DONE]\n\n"
    )
    found = answered_calls(
        [
            exchange(1, [USER], stream, content_type="text/event-stream; charset=utf-8"),
            exchange(2, [USER, result("c2"), result("c1")], says(text="done")),
        ]
    )
    assert [(one.name, one.arguments) for one in found] == [("refund", '{"order": 7}'), ("note", "{}")]


def test_an_answer_that_failed_asks_for_nothing() -> None:
    failed = exchange(1, [USER], says(call("c1")), status=500)
    assert answered_calls([failed, exchange(2, [result("c1")], says())]) == ()


def test_what_the_agent_asked_is_searched_unescaped() -> None:
    texts = list(request_texts([exchange(1, [{"role": "user", "content": 'say "hi"'}], says())]))
    assert texts == ["user", 'say "hi"']
    assert list(request_texts([exchange(1, b"no json \xff", says())])) == ["no json �"]


def test_outside_json_that_cannot_be_read_says_nothing() -> None:
    assert read_json("[" * 100_000) is None
    assert read_json(b"\xff") is None
    assert read_json("9" * 5000) is None
    assert read_json(b" " * (LARGEST + 1)) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "choices", "message", "delta", "tool_calls", "function", "id", "index", "role"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
BYTES = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())
STREAM = st.lists(BYTES.map(lambda data: b"data: " + data), max_size=4).map(b"\n".join)


@given(
    st.lists(st.tuples(BYTES, BYTES | STREAM, st.sampled_from(["application/json", "text/event-stream"])), max_size=4)
)
def test_no_record_raises(bodies: list[tuple[bytes, bytes, str]]) -> None:
    record = [
        exchange(ordinal, request, answer, content_type=kind)
        for ordinal, (request, answer, kind) in enumerate(bodies, 1)
    ]
    assert isinstance(answered_calls(record), tuple)
    assert all(isinstance(text, str) for text in request_texts(record))


WIRES: dict[str, tuple[str, object]] = {
    "chat": ("application/json", {"choices": [{"message": {"role": "assistant", "content": "It opens at nine."}}]}),
    "messages": ("application/json", {"role": "assistant", "content": [{"type": "text", "text": "It opens at nine."}]}),
    "responses": (
        "application/json",
        {"output": [{"content": [{"type": "output_text", "text": "It opens at nine."}]}]},
    ),
    "gemini": ("application/json", {"candidates": [{"content": {"parts": [{"text": "It opens at nine."}]}}]}),
}
STREAMS: dict[str, list[object]] = {
    "chat": [{"choices": [{"delta": {"content": part}}]} for part in ("It opens", " at nine.")],
    "messages": [{"type": "content_block_delta", "delta": {"text": part}} for part in ("It opens", " at nine.")],
    "responses": [{"type": "response.output_text.delta", "delta": part} for part in ("It opens", " at nine.")],
}


def spoken(ordinal: int, data: bytes, content_type: str, status: int = 200) -> Exchange:
    return exchange(ordinal, [], data, content_type=content_type, status=status)


@pytest.mark.parametrize("wire", WIRES)
def test_what_the_model_said_last_is_heard_on_each_wire(wire: str) -> None:
    content_type, body = WIRES[wire]
    assert last_words([spoken(1, json.dumps(body).encode(), content_type)]) == "It opens at nine."


@pytest.mark.parametrize("wire", STREAMS)
def test_what_the_model_said_last_is_heard_in_streams(wire: str) -> None:
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in STREAMS[wire]) + b"data: [DONE]\n\n"
    assert last_words([spoken(1, data, "text/event-stream")]) == "It opens at nine."


def test_an_error_or_an_empty_answer_is_not_what_the_model_said_last() -> None:
    good = spoken(1, json.dumps(WIRES["chat"][1]).encode(), "application/json")
    empty = spoken(2, b'{"choices": [{"message": {"content": null}}]}', "application/json")
    failed = spoken(3, b'{"error": {"text": "overloaded"}}', "application/json", 529)
    assert last_words([failed, good, empty]) == "It opens at nine."
    assert last_words([]) == ""
