"""Events are the same in whatever pieces they come."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from moss.gateway.sse import EVENT_LIMIT, EventReader

STREAM = b"data: one\n\n: a comment\ndata:two\r\ndata: more\r\n\r\nevent: x\nid: 3\n\ndata: three\r\rdata: not over\n"
EVENTS = [b"one", b"two\nmore", b"three"]


def read(pieces: list[bytes]) -> list[bytes]:
    reader = EventReader()
    return [event for piece in pieces for event in reader.feed(piece)]


def test_fields_other_than_data_and_unfinished_events_are_left_out() -> None:
    assert read([STREAM]) == EVENTS


@settings(deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_pieces_do_not_change_the_events(cuts: list[int]) -> None:
    at = sorted({0, len(STREAM), *cuts})
    assert read([STREAM[start:end] for start, end in itertools.pairwise(at)]) == EVENTS
    assert read([STREAM[at : at + 1] for at in range(len(STREAM))]) == EVENTS


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=10))
def test_any_bytes_are_read(pieces: list[bytes]) -> None:
    assert isinstance(read(pieces), list)


def test_an_event_without_an_end_takes_no_memory() -> None:
    reader = EventReader()
    for _ in range(40):
        assert list(reader.feed(b"data: " + b"x" * 100_000)) == []
    assert len(reader._line) <= EVENT_LIMIT
    assert list(reader.feed(b"\n\ndata: next\n\n")) == [b"next"]
