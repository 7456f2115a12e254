"""The engine's framed log, taken apart whatever the pieces, and kept up to a bound."""

import io

from hypothesis import given
from hypothesis import strategies as st

from moss.adapters.boxes.docker_output import STDERR, STDOUT, Stream, beyond, unframed

FRAMES = st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(min_size=1, max_size=50)), max_size=10)


def framed(frames: list[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for kind, data in frames)


class Dripping(io.BytesIO):
    """A connection that gives less than it is asked for."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size, 3) if size and size > 0 else size)


@given(FRAMES)
def test_frames_are_put_together_from_any_pieces(frames: list[tuple[int, bytes]]) -> None:
    for raw in (io.BytesIO(framed(frames)), Dripping(framed(frames))):
        said = {STDOUT: b"", STDERR: b""}
        for kind, piece in unframed(raw):
            said[kind] += piece
        for kind in said:
            assert said[kind] == b"".join(data for one, data in frames if one == kind)


@given(st.binary(max_size=100))
def test_garbage_ends(data: bytes) -> None:
    assert sum(len(piece) for _, piece in unframed(io.BytesIO(data))) <= len(data)


@given(st.lists(st.binary(max_size=30), max_size=10), st.integers(0, 100))
def test_a_stream_keeps_its_first_bytes_and_a_mark(pieces: list[bytes], bound: int) -> None:
    stream, whole = Stream(bound), b"".join(pieces)
    for piece in pieces:
        stream.put(piece)
    said = stream.read(0, 1000)
    assert stream.cut == (len(whole) > bound)
    assert said == (whole[:bound] + b"\n[moss: output cut at %d bytes]\n" % bound if stream.cut else whole)
    assert stream.read(2, 3) == said[2:5]
    assert stream.tail(4) == said[-4:]
    stream.close()
    assert stream.read(0, 10) == stream.tail(10) == b""


@given(FRAMES, st.integers(0, 500), st.integers(0, 500))
def test_what_came_and_what_lies_beyond_are_the_whole(frames: list[tuple[int, bytes]], out: int, err: int) -> None:
    whole = {kind: b"".join(data for one, data in frames if one == kind) for kind in (STDOUT, STDERR)}
    came = {STDOUT: min(out, len(whole[STDOUT])), STDERR: min(err, len(whole[STDERR]))}
    rest = {STDOUT: b"", STDERR: b""}
    for kind, piece in beyond(came, frames):
        rest[kind] += piece
    assert {kind: whole[kind][: came[kind]] + rest[kind] for kind in whole} == whole
