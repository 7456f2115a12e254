"""Owns commands inside a running box: their words, stdin, output, time. Never the box's own program.

Invariant: `run` returns within its seconds and a little, and what took longer is killed by the slot's keeper.
"""

import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from moss.adapters.boxes.docker_output import STDERR
from moss.dockerd import Engine

MARK = "MOSS_EXEC"
BYTES = 1 << 20
KILLED = 137
AFTER_KILL = 5.0
LOOK = 0.5
"""Seconds of silence between two looks at whether the box still runs."""


class Command:
    """One command. `over` says whether its box has ended: the engine does not always end a command's stream then."""

    def __init__(
        self, engine: Engine, container: str, argv: Sequence[str], stdin: bytes, over: Callable[[], bool]
    ) -> None:
        """Raises: Gone, Conflict (the box has ended)."""
        self._over = over
        self.mark = f"{MARK}={uuid.uuid4().hex}"
        self._engine, self._stdin = engine, stdin
        self._out = {1: bytearray(), STDERR: bytearray()}
        with engine.saying("the command cannot be run"):
            made = engine.api.exec_create(container, list(argv), stdin=True, environment=[self.mark])
            self._id: str = made["Id"]

    def run(self, seconds: float, kill: Callable[[str], None]) -> tuple[int, bytes, bytes]:
        """`kill` is told the command's mark when its time is over."""
        until = time.monotonic() + seconds
        with self._engine.saying("the command cannot be run"):
            stream = self._engine.streams.exec_start(self._id, socket=True)
            peer: socket.socket = stream._sock
        feeder = threading.Thread(target=self._feed, args=(peer,), daemon=True)
        feeder.start()
        late = False
        try:
            late = not self._read(peer, until)
            if late:
                kill(self.mark)
                self._read(peer, time.monotonic() + AFTER_KILL)
        finally:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            feeder.join()
            stream.close()
            peer.close()
        return KILLED if late else self._code(), bytes(self._out[1]), bytes(self._out[STDERR])

    def _feed(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            peer.sendall(self._stdin)
            peer.shutdown(socket.SHUT_WR)

    def _read(self, peer: socket.socket, until: float) -> bool:
        """Takes frames until the stream ends (True) or the time does."""
        while (head := self._exactly(peer, 8, until)) is not None:
            if len(head) < 8:
                return True
            piece = self._exactly(peer, int.from_bytes(head[4:], "big"), until)
            if piece is None:
                return False
            kept = self._out.get(head[0], self._out[1])
            kept += piece[: BYTES - len(kept)]
        return False

    def _exactly(self, peer: socket.socket, size: int, until: float) -> bytes | None:
        data = b""
        while len(data) < size:
            left = until - time.monotonic()
            if left <= 0:
                return None
            peer.settimeout(min(left, LOOK))
            try:
                piece = peer.recv(min(size - len(data), 1 << 16))
            except TimeoutError:
                if self._over():
                    return None
                continue
            except OSError:
                return data
            if not piece:
                return data
            data += piece
        return data

    def _code(self) -> int:
        found: dict[str, Any] = {}
        ends = time.monotonic() + AFTER_KILL
        while time.monotonic() < ends:
            with self._engine.saying("the command's end cannot be read"):
                found = self._engine.api.exec_inspect(self._id)
            if not found["Running"]:
                return int(found["ExitCode"] if found["ExitCode"] is not None else KILLED)
            time.sleep(0.005)
        return KILLED
