"""Owns the fast pass over a file's bytes: which lines deserve a look, and how many there are. Never parses JSON.

A block of whole lines is searched for the signals at memory speed (stringzilla; `bytes.find` takes ten times as
long). The other lines are passed by count, but for those without a reply: these are given out, whatever they are.
Where a block does not look like the format, every line of it is given out.
Invariants: one buffer whatever the file's size; a line is given out at most once, in order; an unfinished last line
never is.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from typing import NamedTuple

import stringzilla

from moss.adapters.evidence.line import LONGEST

BLOCK = 1 << 20
_HEAD = re.compile(rb'^\{"v": ?1, ?.*"ordinal":( ?)[0-9]+,')
_USUAL = b'"status":200,"finish":"stop"'
"""In a block whose lines all hold this, no signal on these two keys need be searched for."""


class Line(NamedTuple):
    """One line to be read. `wanted`: a suspect or a candidate guard, else it is only looked at for its form.
    A line that is too long to be read has its size and no `raw`."""

    at: int
    raw: bytes
    size: int
    wanted: bool = True


@dataclass(slots=True)
class Passed:
    """A block up to byte `end`: its lines to be read, and the turns and first turns of all its lines.
    None: not counted, each of its lines is given out."""

    lines: list[Line]
    end: int
    turns: int | None = None
    sessions: int = 0


@dataclass(slots=True)
class Spread:
    """Takes a candidate guard each `stride` bytes of a scan, whatever the files are."""

    stride: int
    next: int = 0
    base: int = 0
    """bytes of the scan before the current block"""

    def take(self, stop: int) -> None:
        """A line that ends at byte `stop` of the block was taken."""
        self.next = max(self.next + self.stride, self.base + stop)


class Sieve:
    """Signals, prepared once a scan."""

    def __init__(self, signals: Sequence[bytes]) -> None:
        self._every = b"" in signals
        compact = tuple(dict.fromkeys(signal for signal in signals if signal))
        self._styles = {b"": compact, b" ": tuple(map(_spaced, compact))}
        self._any_style = tuple(dict.fromkeys((*compact, *self._styles[b" "])))
        self._buffer = bytearray(LONGEST + BLOCK)

    def blocks(self, file: FileIO, at: int, spread: Spread, every: bool = False) -> Iterator[Passed]:
        """Blocks of whole lines from byte `at` on. `every`: all lines are given out."""
        buffer, view, have = self._buffer, memoryview(self._buffer), 0
        file.seek(at)
        while got := file.readinto(view[have : have + BLOCK]):
            end = buffer.rfind(b"\n", have, have + got) + 1
            have += got
            if end == 0:
                if have <= LONGEST:
                    continue
                long = _skip(file, have, at)
                if long is None:
                    return
                at, have = at + long.size, 0
                spread.base += long.size
                yield Passed([long], at)
                continue
            yield self._block(end, at, spread, every)
            at += end
            spread.base += end
            buffer[: have - end] = buffer[end:have]
            have -= end

    def _block(self, end: int, at: int, spread: Spread, every: bool) -> Passed:
        text = stringzilla.Str(memoryview(self._buffer)[:end])
        lines = text.count(b"\n")
        style = None if every or self._every else self._style(end)
        if style is None:
            return Passed([*self._all(end, at, spread)], at + end)
        starts = self._suspects(text, style, lines)
        if text.count(b'"reply":' + style + b'"') != lines:
            starts |= self._without_reply(end, style)
        starts |= self._samples(end, spread, starts)
        given = [line for line in self._cut(starts, at) if line.raw.strip()]
        firsts = text.count(b'"ordinal":' + style + b"1,")
        # a blank line has no reply, so it is among the starts; it is no turn
        return Passed(given, at + end, lines - len(starts) + len(given), firsts)

    def _style(self, end: int) -> bytes | None:
        """What stands behind a colon in this block, by its first line; None when that is not as the format has it."""
        head = _HEAD.search(self._buffer, 0, self._buffer.find(b"\n", 0, end))
        return head[1] if head else None

    def _suspects(self, text: stringzilla.Str, style: bytes, lines: int) -> set[int]:
        """Starts of the lines that hold a signal."""
        buffer, starts = self._buffer, set[int]()
        usual = text.count(_spaced(_USUAL) if style else _USUAL) == lines
        for signal in self._styles[style]:
            if usual and signal.startswith((b'"status":', b'"finish":')):
                continue
            found = text.find(signal)
            while found >= 0:
                starts.add(buffer.rfind(b"\n", 0, found) + 1)
                found = text.find(signal, buffer.find(b"\n", found) + 1)
        return starts

    def _without_reply(self, end: int, style: bytes) -> set[int]:
        """Starts of the lines without a reply: the agent said nothing, or it is no turn at all."""
        buffer, reply, starts, start = self._buffer, b'"reply":' + style + b'"', set[int](), 0
        while start < end:
            stop = buffer.find(b"\n", start, end)
            if buffer.find(reply, start, stop) < 0:
                starts.add(start)
            start = stop + 1
        return starts

    def _samples(self, end: int, spread: Spread, starts: set[int]) -> set[int]:
        samples: set[int] = set()
        while spread.next < spread.base + end:
            start = self._buffer.rfind(b"\n", 0, spread.next - spread.base) + 1
            stop = self._buffer.find(b"\n", start, end) + 1
            if start not in starts:
                samples.add(start)
            spread.take(stop)
        return samples

    def _cut(self, starts: set[int], at: int) -> Iterator[Line]:
        find, view = self._buffer.find, memoryview(self._buffer)
        for start in sorted(starts):
            stop = find(b"\n", start)
            yield Line(at + start, bytes(view[start:stop]), stop + 1 - start)

    def _all(self, end: int, at: int, spread: Spread) -> Iterator[Line]:
        start, view = 0, memoryview(self._buffer)
        while start < end:
            stop = self._buffer.find(b"\n", start, end) + 1
            raw = bytes(view[start : stop - 1])
            if raw.strip():
                sampled = spread.next < spread.base + stop
                if sampled:
                    spread.take(stop)
                yield Line(at + start, raw, stop - start, sampled or self._suspect(raw))
            start = stop

    def _suspect(self, raw: bytes) -> bool:
        return self._every or b'"reply":' not in raw or any(signal in raw for signal in self._any_style)


def _skip(file: FileIO, seen: int, at: int) -> Line | None:
    """A line that is too long, passed to its end; None when it has none yet."""
    size = seen
    while piece := file.read(BLOCK):
        stop = piece.find(b"\n")
        if stop >= 0:
            size += stop + 1
            file.seek(at + size)
            return Line(at, b"", size)
        size += len(piece)
    return None


def _spaced(signal: bytes) -> bytes:
    """A signal on the line's own keys, as a writer that puts a blank behind each colon and comma has it."""
    return signal.replace(b'":', b'": ').replace(b',"', b', "') if signal.startswith(b'"') else signal
