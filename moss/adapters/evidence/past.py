"""Owns reading a file backwards for the lines of one session. Never parses one.

Invariant: one window of memory, wherever the lines are; a line longer than the format allows is passed over.
"""

import os
from collections.abc import Iterator
from io import FileIO

from moss.adapters.evidence.blocks import LONGEST

WINDOW = 1 << 20


def earlier_lines(file: FileIO, needle: bytes, before: int | None) -> Iterator[bytes]:
    """Whole lines that hold `needle`, from byte `before` (None: the last newline) backwards."""
    end = os.fstat(file.fileno()).st_size if before is None else before
    rest = b""
    if before is None:
        end, rest = _whole(file, end)
    while end > 0 or rest:
        start = max(0, end - WINDOW)
        data = os.pread(file.fileno(), end - start, start) + rest
        cut = data.find(b"\n") + 1 if start > 0 else 0
        if start > 0 and cut == 0:
            end, rest = start, data if len(data) <= LONGEST else b""
            continue
        yield from _holding(data, cut, needle)
        end, rest = start, data[:cut]
        if start == 0:
            return


def _whole(file: FileIO, end: int) -> tuple[int, bytes]:
    """The end of the last whole line."""
    while end > 0:
        start = max(0, end - WINDOW)
        at = os.pread(file.fileno(), end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1, b""
        end = start
    return 0, b""


def _holding(data: bytes, cut: int, needle: bytes) -> Iterator[bytes]:
    found = data.rfind(needle, cut)
    while found >= 0:
        start = max(cut, data.rfind(b"\n", cut, found) + 1)
        stop = data.find(b"\n", found)
        yield data[start : stop if stop >= 0 else len(data)]
        found = data.rfind(needle, cut, start)
