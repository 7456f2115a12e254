"""Owns the fast pass over a file's bytes: which lines deserve a look, and how many there are. Never parses JSON.

A block of whole lines is searched for the signals at memory speed (stringzilla; `bytes.find` takes ten times as
long). The other lines are passed by count, but for those without a reply: these are given out, whatever they are.
Where a block does not look like the format, every line of it is given out.
Invariant: a line is given out at most once, in order.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import stringzilla

from moss.adapters.evidence.blocks import BLOCK, Buffer

_HEAD = re.compile(rb'^\{"v": ?1, ?.*"ordinal":( ?)[0-9]+,')
_REPLY = re.compile(rb'"reply": ?"')
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
    """Signals, prepared once a scan. `block`: bytes that are searched in one go."""

    def __init__(self, signals: Sequence[bytes], block: int = BLOCK) -> None:
        self.signals, self._every = tuple(signals), b"" in signals
        compact = tuple(dict.fromkeys(signal for signal in signals if signal))
        self._styles = {b"": compact, b" ": tuple(map(_spaced, compact))}
        self._any_style = tuple(dict.fromkeys((*compact, *self._styles[b" "])))
        self._buffer = Buffer(block)

    def blocks(
        self, file: int, at: int, spread: Spread, every: bool = False, until: int | None = None
    ) -> Iterator[Passed]:
        """Blocks of whole lines from byte `at` of an open file on. `every`: all lines are given out."""
        for block in self._buffer.blocks(file, at, until):
            end = block.at + block.size
            if block.view is None:
                yield Passed([Line(block.at, b"", block.size)], end)
            else:
                yield self._block(_Text(block.view), block.at, spread, every)
            spread.base += block.size

    def _block(self, text: "_Text", at: int, spread: Spread, every: bool) -> Passed:
        style = None if every or self._every else text.style()
        if style is None:
            return Passed([*self._all(text, at, spread)], at + text.size)
        lines = text.count(b"\n")
        starts = self._suspects(text, style, lines)
        if text.count(b'"reply":' + style + b'"') != lines:
            starts |= text.without(b'"reply":' + style + b'"')
        starts |= _samples(text, spread, starts)
        given = [line for line in text.cut(starts, at) if line.raw.strip()]
        firsts = text.count(b'"ordinal":' + style + b"1,")
        # a blank line has no reply, so it is among the starts; it is no turn
        return Passed(given, at + text.size, lines - len(starts) + len(given), firsts)

    def _suspects(self, text: "_Text", style: bytes, lines: int) -> set[int]:
        """Starts of the lines that hold a signal."""
        usual = text.count(_spaced(_USUAL) if style else _USUAL) == lines
        starts = set[int]()
        for signal in self._styles[style]:
            if not (usual and signal.startswith((b'"status":', b'"finish":'))):
                starts.update(text.holding(signal))
        return starts

    def _all(self, text: "_Text", at: int, spread: Spread) -> Iterator[Line]:
        for start, stop in text.spans():
            raw = bytes(text.view[start : stop - 1])
            if raw.strip():
                sampled = spread.next < spread.base + stop
                if sampled:
                    spread.take(stop)
                yield Line(at + start, raw, stop - start, sampled or self._suspect(raw))

    def _suspect(self, raw: bytes) -> bool:
        return self._every or not _REPLY.search(raw) or any(signal in raw for signal in self._any_style)


class _Text:
    """A block under search."""

    def __init__(self, view: memoryview) -> None:
        self.view, self.size = view, len(view)
        self._text = stringzilla.Str(view)
        self.count = self._text.count

    def style(self) -> bytes | None:
        """What stands behind a colon in this block, by its first line; None when that is not as the format has it."""
        head = _HEAD.search(self.view, 0, self._text.find(b"\n"))
        return head[1] if head else None

    def holding(self, signal: bytes) -> Iterator[int]:
        """Starts of the lines that hold it."""
        text, found = self._text, self._text.find(signal)
        while found >= 0:
            yield text.rfind(b"\n", 0, found) + 1
            found = text.find(signal, text.find(b"\n", found) + 1)

    def without(self, reply: bytes) -> set[int]:
        """Starts of the lines without a reply: the agent said nothing, or it is no turn at all."""
        return {start for start, stop in self.spans() if self._text.find(reply, start, stop) < 0}

    def around(self, place: int) -> tuple[int, int]:
        """Start and end of the line at a place."""
        return self._text.rfind(b"\n", 0, place) + 1, self._text.find(b"\n", place) + 1

    def spans(self) -> Iterator[tuple[int, int]]:
        """Start and end of each line, its newline included."""
        start = 0
        while start < self.size:
            stop = self._text.find(b"\n", start) + 1
            yield start, stop
            start = stop

    def cut(self, starts: set[int], at: int) -> Iterator[Line]:
        find, view = self._text.find, self.view
        for start in sorted(starts):
            stop = find(b"\n", start)
            yield Line(at + start, bytes(view[start:stop]), stop + 1 - start)


def _samples(text: _Text, spread: Spread, starts: set[int]) -> set[int]:
    """Starts of the candidate guards among the lines that are no suspects."""
    samples: set[int] = set()
    while spread.next < spread.base + text.size:
        start, stop = text.around(spread.next - spread.base)
        if start not in starts:
            samples.add(start)
        spread.take(stop)
    return samples


def _spaced(signal: bytes) -> bytes:
    """A signal on the line's own keys, as a writer that puts a blank behind each colon and comma has it."""
    return signal.replace(b'":', b'": ').replace(b',"', b', "') if signal.startswith(b'"') else signal
