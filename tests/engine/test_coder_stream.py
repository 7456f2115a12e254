"""Output becomes lines, lines become one ending: whatever the pieces, whatever the bytes."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moss.engine.coder_stream import Line, Lines, Said, object_in, shown
from moss.ports import CoderEvent, EventKind


def lines_of(pieces: list[bytes], bound: int) -> list[Line]:
    lines = Lines(bound)
    return [line for piece in pieces for line in lines.feed(piece)] + list(lines.end())


@given(st.lists(st.binary(max_size=40)), st.integers(1, 20))
def test_any_pieces_give_the_lines_of_the_whole(pieces: list[bytes], bound: int) -> None:
    assert lines_of(pieces, bound) == lines_of([b"".join(pieces)], bound)


@given(st.binary(max_size=200), st.integers(1, 20))
def test_nothing_is_lost_but_what_is_said_to_be_cut(data: bytes, bound: int) -> None:
    lines = lines_of([data], bound)
    whole = data.split(b"\n")
    whole = whole if whole[-1] else whole[:-1]
    assert [line.text for line in lines] == [each[:bound] for each in whole]
    assert [len(line.text) + line.cut for line in lines] == [len(each) for each in whole]


def test_a_cut_line_says_so() -> None:
    assert lines_of([b"abcdef\n"], 4)[0].shown == b"abcd ...[moss: 2 bytes of this line were cut]"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ('so:\n```json\n{"a": 1}\n```', {"a": 1}),
        ('```\n{"a": 1}\n```\nand\n```json\n{"a": 2}\n```\nbye', {"a": 2}),
        ("[1, 2]", None),
        ("no json", None),
        ("```json\n{broken\n```", None),
        ("[" * 100_000, None),
    ],
)
def test_an_object_is_found_only_where_it_is_meant(text: str, found: object) -> None:
    assert object_in(text) == found


@given(st.text())
def test_object_in_never_raises(text: str) -> None:
    assert object_in(text) is None or isinstance(object_in(text), dict)


@example({"```": 0})
@given(st.dictionaries(st.text(), st.integers()))
def test_every_object_is_found_again_in_its_fence(value: dict[str, int]) -> None:
    assert object_in(f"text\n```json\n{json.dumps(value)}\n```\n") == value


@given(st.text(), st.integers(1, 50))
def test_shown_is_one_printable_line(text: str, limit: int) -> None:
    line = shown(text, limit)
    assert line.isprintable()
    assert len(line) <= limit + 3


def test_a_result_by_event_wins_over_text() -> None:
    said = Said()
    said.take(CoderEvent(EventKind.RESULT, result={"n": 1}))
    said.take(CoderEvent(EventKind.TEXT, text='{"n": 2}'))
    assert said.result == {"n": 1}


def test_a_session_is_remembered_from_any_event() -> None:
    said = Said()
    said.take(CoderEvent(EventKind.TEXT, text="hi", session="s-1"))
    said.take(CoderEvent(EventKind.RESULT, result={}))
    assert said.session == "s-1"
