"""Owns reading server-sent events out of bytes that come in any pieces. Pure.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html. Only `data` fields matter here.
Invariant: the pieces do not change the events; at most `EVENT_LIMIT` bytes are held, a longer event is passed over.
"""

from collections.abc import Iterator

EVENT_LIMIT = 1 << 20


class EventReader:
    """Feed it pieces, it gives the data of each event that is over."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._after_return = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        if self._after_return and piece:
            piece = piece.removeprefix(b"\n")
            self._after_return = False
        self._after_return = self._after_return or piece.endswith(b"\r")
        *whole, rest = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            self._keep(line)
            yield from self._end_line()
        self._keep(rest)

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= EVENT_LIMIT:
            self._line += part

    def _end_line(self) -> Iterator[bytes]:
        line = bytes(self._line)
        self._line.clear()
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        if line:
            return
        data, fits = self._data, self._size <= EVENT_LIMIT
        self._data, self._size = [], 0
        if data and fits:
            yield b"\n".join(data)
