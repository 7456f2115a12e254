"""Owns reading a file in blocks of whole lines. Never looks into a line.

Invariants: one buffer, whatever the file's size; every byte up to the last newline is in one block, in order; an
unfinished last line is in none.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from stringzilla import Str

LONGEST = 8 << 20
"""Bytes of a line; a longer one is refused unread."""
BLOCK = 2 << 20
ROOM = 256 << 10
"""Bytes before a block for the beginning of its first line, which came with the block before."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines, the first at byte `at` of the file. Good until the next one is asked for.
    `view` None: one line of `size` bytes, which is too long to be read."""

    at: int
    size: int
    view: memoryview | None


class Buffer:
    """Room for one file after another. `block`: bytes that are read in one go."""

    def __init__(self, block: int = BLOCK) -> None:
        self._whole = memoryview(bytearray(ROOM + block))

    def blocks(self, file: int, at: int, until: int | None = None) -> Iterator[Block]:
        """What stands behind byte `at` of an open file: up to byte `until`, where a line starts, else to the last
        newline."""
        start, tail, skipped = at, b"", 0
        for buffer in self._read(file, at, until):
            fresh = ROOM
            if skipped:
                fresh += Str(buffer[ROOM:]).find(b"\n") + 1
                if fresh == ROOM:
                    skipped += len(buffer) - ROOM
                    continue
                yield Block(start, skipped + fresh - ROOM, None)
                start, skipped = start + skipped + fresh - ROOM, 0
            end = fresh + Str(buffer[fresh:]).rfind(b"\n") + 1
            if end > fresh:
                whole = _joined(tail, buffer, fresh, end)
                yield Block(start, len(whole), whole)
                start, tail = start + len(whole), b""
            tail += buffer[end:]
            if len(tail) > LONGEST:
                tail, skipped = b"", len(tail)

    def _read(self, file: int, at: int, until: int | None) -> Iterator[memoryview]:
        """The buffer: `ROOM` empty bytes, and behind them what was read."""
        while until is None or at < until:
            room = self._whole[ROOM:] if until is None else self._whole[ROOM : ROOM + until - at]
            got = os.preadv(file, [room], at)
            if got == 0:
                return
            at += got
            yield self._whole[: ROOM + got]


def line_after(file: int, at: int) -> int | None:
    """Where the first line behind byte `at` starts; None when there is none."""
    while data := os.pread(file, BLOCK, at):
        stop = data.find(b"\n")
        if stop >= 0:
            return at + stop + 1
        at += len(data)
    return None


def _joined(tail: bytes, buffer: memoryview, fresh: int, end: int) -> memoryview:
    """`tail` and the bytes of `buffer` from `fresh` to `end`, before which nothing is needed any more."""
    if len(tail) > fresh:
        return memoryview(tail + buffer[fresh:end])
    buffer[fresh - len(tail) : fresh] = tail
    return buffer[fresh - len(tail) : end]
