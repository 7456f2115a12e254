"""A recording is read as it was written, and spoken again in its own proportions."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moss.domain.evidence import Chunk, Exchange
from moss.domain.ids import Digest
from moss.errors import UserError
from moss.gateway.recording import dump, joined, load, load_whole_lines, pace


def exchange(ordinal: int = 1, chunks: tuple[Chunk, ...] = (), turn: str | None = None) -> Exchange:
    at = datetime(2026, 1, 2, 3, 4, 5, ordinal, UTC)
    return Exchange(
        ordinal=ordinal,
        at=at,
        upstream="main",
        path="/v1/x",
        request=b"\xff\n{}",
        canonical=Digest("sha256:0"),
        status=200,
        chunks=chunks,
        turn=turn,
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=30), st.floats(0, 100)), max_size=5))
def test_it_is_read_as_it_was_written(pieces: list[tuple[bytes, float]]) -> None:
    chunks = tuple(Chunk(data=data, after=after) for data, after in pieces)
    written = (exchange(1, chunks), exchange(2))
    assert load(dump(written)) == written


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_are_a_recording_or_a_users_mistake(data: bytes) -> None:
    with contextlib.suppress(UserError):
        assert all(isinstance(each, Exchange) for each in load(data))


def test_a_line_that_a_kill_cut_short_is_left_out() -> None:
    data = dump([exchange(1), exchange(2)])
    assert load_whole_lines(data[:-5]) == (exchange(1),)
    with pytest.raises(UserError, match="recording:2"):
        load(data[:-5])


def test_turns_are_joined_and_numbered_through() -> None:
    turns = [[exchange(2, turn="s#1"), exchange(1, turn="s#1")], [exchange(1, turn="s#2")]]
    assert [(each.ordinal, each.turn) for each in joined(turns)] == [(1, "s#1"), (2, "s#1"), (3, "s#2")]


def test_time_is_squeezed_and_never_stretched() -> None:
    slow = (Chunk(data=b"a", after=30.0), Chunk(data=b"b", after=10.0))
    assert list(pace(slow, 2.0)) == [(1.5, b"a"), (0.5, b"b")]
    assert list(pace((Chunk(data=b"a", after=0.5),), 2.0)) == [(0.5, b"a")]
    assert list(pace((Chunk(data=b"a", after=-1.0),), 2.0)) == [(0.0, b"a")]
