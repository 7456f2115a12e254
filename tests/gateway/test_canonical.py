"""Two requests are the same when they ask the same: ids and volatile lines do not count, words do."""

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from moss.gateway.canonical import canonical_digest, canonical_form

VOLATILE = (re.compile(r"^Now: "),)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | st.just("id"), inner, max_size=4),
    max_leaves=20,
)


def conversation(call: str, other: str, now: str = "", text: str = "done") -> bytes:
    calls = [{"id": call, "function": {"name": "a"}}, {"id": other, "function": {"name": "b"}}]
    messages = [
        {"role": "system", "content": f"Be good.\nNow: {now}\nEnd."},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": call, "content": text},
        {"role": "tool", "tool_call_id": other, "content": text},
    ]
    return json.dumps({"model": "m", "messages": messages}).encode()


def same(first: bytes, second: bytes) -> bool:
    return canonical_digest("/v1/x", first, VOLATILE) == canonical_digest("/v1/x", second, VOLATILE)


def test_ids_do_not_count() -> None:
    assert same(conversation("call_1", "call_2"), conversation("x", "y"))


def test_which_id_is_meant_counts() -> None:
    swapped = json.loads(conversation("x", "y"))
    swapped["messages"][2]["tool_call_id"] = "y"
    assert not same(conversation("x", "y"), json.dumps(swapped).encode())


def test_volatile_lines_do_not_count_others_do() -> None:
    assert same(conversation("x", "y", now="noon"), conversation("x", "y", now="midnight"))
    assert not same(conversation("x", "y", text="done"), conversation("x", "y", text="failed"))


def test_the_order_of_keys_and_blanks_do_not_count_the_model_does() -> None:
    assert same(b'{"model":"m","a":1}', b'{ "a": 1, "model": "m" }')
    assert not same(b'{"model":"m"}', b'{"model":"n"}')
    assert canonical_digest("/a", b"{}") != canonical_digest("/b", b"{}")


@settings(deadline=None)
@given(values)
def test_the_form_of_a_form_is_the_form(value: Any) -> None:
    form = canonical_form(value, VOLATILE)
    assert canonical_form(form, VOLATILE) == form


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_have_a_form(body: bytes) -> None:
    assert canonical_digest("/v1/x", body, VOLATILE).startswith("sha256:")


def test_strange_json_is_equal_only_to_itself() -> None:
    strange = [b'{"a": "\\ud800"}', b'{"a": NaN}', b"[" * 50_000, b"\xff", b'{"a": "\\ud801"}']
    assert len({canonical_digest("/v1/x", each, VOLATILE) for each in strange}) == len(strange)
