"""The scripted model: which rule answers, what it says, what a script may not be."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moss.errors import UserError
from moss.gateway.script import Script, find_rule, read_script
from moss.gateway.wire import Called, Heard, Said

from .conftest import script


def says(*rules: dict[str, Any], role: str = "user", text: str = "refund order 7 for Ann") -> Said | None:
    heard = Heard("tool" if role == "tool" else "user" if role == "user" else "other", text)
    found = find_rule(read_script(script(*rules)), heard)
    return found[1] if found else None


def test_the_first_rule_that_fits_answers() -> None:
    assert says({"pattern": "order 8", "text": "a"}, {"pattern": "ORDER", "text": "b"}, {"text": "c"}) == Said("b")


def test_a_rule_of_another_role_does_not() -> None:
    rules = ({"role": "tool", "text": "tool"}, {"role": "user", "text": "user"})
    assert says(*rules, role="tool") == Said("tool")
    assert says(*rules, role="user") == Said("user")
    assert says(*rules, role="system") is None


def test_groups_are_filled_everywhere_once() -> None:
    rule = {
        "pattern": r"order (\d+) for (\w+)",
        "text": "{2}: {1} {3}",
        "tool_calls": [
            {"name": "tool_{1}", "arguments": {"who": ["{2}"], "n": 1}},
            {"name": "raw", "arguments": "{oops {1}"},
        ],
    }
    calls = (Called("tool_7", '{"who": ["Ann"], "n": 1}'), Called("raw", "{oops 7"))
    assert says(rule) == Said("Ann: 7 {3}", calls)


def test_arguments_in_pieces_are_given_in_these_pieces() -> None:
    rule = {"pattern": "order (\\d+)", "tool_calls": [{"name": "raw", "arguments": ['{"n"', '{"n": {1}}']}]}
    assert says(rule) == Said("", (Called("raw", '{"n"{"n": 7}', ('{"n"', '{"n": 7}')),))


def test_what_a_message_says_is_never_a_template() -> None:
    assert says({"pattern": "(.*)", "text": "<{1}>"}, text="{1}{0}") == Said("<{1}{0}>")


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"pattern": "("}, "rules.0.pattern"),
        ({"fault": {}}, "rules.0.fault"),
        ({"fault": {"status": 200}}, "rules.0.fault.status"),
        ({"fault": {"status": 500, "cut_after": 1}}, "rules.0.fault"),
        ({"fault": {"ends_after": 1, "cut_after": 1}}, "rules.0.fault"),
        ({"fault": {"once": True}}, "rules.0.fault"),
        ({"delay": -1}, "rules.0.delay"),
        ({"tool_calls": [{"name": ""}]}, "rules.0.tool_calls.0.name"),
        ({"text": 5}, "rules.0.text"),
        ({"unknown": 1}, "rules.0.unknown"),
    ],
)
def test_a_script_that_is_wrong_is_refused_with_its_place(rule: dict[str, Any], place: str) -> None:
    with pytest.raises(UserError, match=f"^a.json: {place}"):
        read_script(script(rule), "a.json")


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text().map(lambda text: json.dumps(text).encode()))
def test_any_bytes_are_a_script_or_a_users_mistake(data: bytes) -> None:
    with contextlib.suppress(UserError):
        assert isinstance(read_script(data), Script)
