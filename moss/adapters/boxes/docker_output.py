"""Owns what a box said: the engine's log of it, followed into a file of ours that nobody else sees.

The engine's log is the truth (byte-exact, bounded by the engine); this is a copy to read pieces of, made anew by each
controller. Never judges. Invariant: of each stream at most its bound is kept, then a mark.
"""

import contextlib
import tempfile
import threading
import weakref
from collections.abc import Callable
from typing import IO, Any

from moss.dockerd import Conflict, Engine, Gone
from moss.errors import MossError

ERRORS_TAIL = 64 << 10
JOIN_SECONDS = 60.0
STDOUT, STDERR = 1, 2
FOLLOWS_TO_THE_END = (1, 42)
"""The first API whose engines do: Docker 20.10 sometimes ends a followed log before the last words of a box that ends
in that moment (4 of 60 boxes that print one sign), though its log has them."""


class Stream:
    """The first `bound` bytes of one stream."""

    def __init__(self, bound: int) -> None:
        self.cut, self._bound, self._size = False, bound, 0
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def put(self, data: bytes) -> None:
        with self._lock:
            if self.cut or self._file.closed:
                return
            left = self._bound - self._size
            self._file.seek(0, 2)
            self._file.write(data[:left])
            self._size += len(data[:left])
            if len(data) > left:
                self.cut = True
                self._file.write(f"\n[moss: output cut at {self._bound} bytes]\n".encode())

    def read(self, after: int, limit: int) -> bytes:
        with self._lock:
            if self._file.closed:
                return b""
            self._file.seek(after)
            return self._file.read(limit)

    def tail(self, limit: int) -> bytes:
        with self._lock:
            if self._file.closed:
                return b""
            size = self._file.seek(0, 2)
            self._file.seek(max(0, size - limit))
            return self._file.read(limit)

    def close(self) -> None:
        with self._lock:
            self._file.close()


class Spool:
    """Follows one container until it ends. `over` is called once, when a stream passed its bound."""

    def __init__(self, engine: Engine, container: str, bound: int, over: Callable[[], None]) -> None:
        self.stdout, self.stderr = Stream(bound), Stream(bound)
        self._engine, self._container, self._over = engine, container, over
        self._answer: Any = None
        self._thread = threading.Thread(target=self._follow, name=f"output of {container}", daemon=True)
        self._thread.start()

    @property
    def cut(self) -> bool:
        return self.stdout.cut or self.stderr.cut

    def finish(self) -> None:
        """All is read when this returns; the container has ended."""
        self._thread.join(JOIN_SECONDS)

    def close(self) -> None:
        """The container is gone, so the stream has ended or ends now."""
        self._thread.join(JOIN_SECONDS)
        self.stdout.close()
        self.stderr.close()

    def _follow(self) -> None:
        """A stream that breaks (the engine ends, the container is removed) leaves what came so far."""
        told = False
        with contextlib.suppress(Gone, Conflict, MossError, ValueError), self._engine.saying("output"):
            for kind, piece in whole_log(self._engine, self._container):
                (self.stderr if kind == STDERR else self.stdout).put(piece)
                if self.cut and not told:
                    told = True
                    self._over()


def whole_log(engine: Engine, container: str) -> Any:
    """(stream, bytes) as they come, from the log's beginning to the container's end, whatever the engine's age."""
    came = {STDOUT: 0, STDERR: 0}
    for kind, piece in frames(engine, container, follow=True):
        came[kind] = came.get(kind, 0) + len(piece)
        yield kind, piece
    if engine.version < FOLLOWS_TO_THE_END:
        yield from beyond(came, frames(engine, container, follow=False))


def beyond(came: dict[int, int], pieces: Any) -> Any:
    """Of each stream what lies after the bytes that came already."""
    left = dict(came)
    for kind, piece in pieces:
        skipped = min(len(piece), left.get(kind, 0))
        left[kind] = left.get(kind, 0) - skipped
        if rest := piece[skipped:]:
            yield kind, rest


def frames(engine: Engine, container: str, follow: bool) -> Any:
    """(stream, bytes) of the engine's multiplexed log."""
    api = engine.streams
    url = api._url("/containers/{0}/logs", container)
    answer = api._get(url, params={"follow": int(follow), "stdout": 1, "stderr": 1}, stream=True)
    with answer:
        api._raise_for_status(answer)
        yield from unframed(answer.raw)


def unframed(raw: IO[bytes]) -> Any:
    """Splits the engine's frames: one byte of stream, three of nothing, four of length, then the bytes."""
    while len(head := read_all(raw, 8)) == 8:
        left = int.from_bytes(head[4:], "big")
        while left and (piece := raw.read(min(left, 1 << 16))):
            left -= len(piece)
            yield head[0], piece


def read_all(raw: IO[bytes], size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := raw.read(size - len(data))):
        data += piece
    return data
