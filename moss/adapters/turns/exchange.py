"""Owns one HTTP exchange with an agent that may do anything: it ends in time, in bounded memory, without an exception.

Never reads what the answer means, never follows a redirect, never tries twice.
Invariant: `exchange` returns within `seconds`; it holds at most `BODY` bytes of the answer.
"""

import http.client
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. `path` begins with `/`."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Got:
    """What came back. `error` in words when there was no answer (or not the end of it); `cut`: longer than `BODY`.
    `refused`: nobody listens; `late`: the time was over."""

    status: int | None = None
    body: bytes = b""
    seconds: float = 0.0
    error: str | None = None
    cut: bool = False
    refused: bool = False
    late: bool = False


class Deadline:
    """Ends a connection's socket when the time is over: a time-out a read would never end a dripping answer."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> "Deadline":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def watch(self, connection: socket.socket) -> None:
        self._socket = connection
        if self.passed:
            self._end()

    def _end(self) -> None:
        self.passed = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def exchange(host: str, port: int, request: Request, seconds: float) -> Got:
    """Sends `request` and reads what comes, for at most `seconds` (wall time, all of it)."""
    began, seconds = time.monotonic(), max(seconds, 0.01)
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    with Deadline(seconds) as deadline:
        try:
            status, body = _talk(connection, request, deadline)
        except ConnectionRefusedError:
            return Got(seconds=_since(began), error="connection refused", refused=True)
        except TimeoutError:
            return _late(began, seconds)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return _late(began, seconds) if deadline.passed else Got(seconds=_since(began), error=_words(error))
        finally:
            connection.close()
    if deadline.passed:
        return Got(status, body[:BODY], _since(began), f"the answer did not end within {seconds:g} s", late=True)
    return Got(status, body[:BODY], _since(began), cut=len(body) > BODY)


def plain(data: bytes) -> str:
    """Bytes from outside as text that every store takes: invalid UTF-8 and NUL become U+FFFD."""
    return tidy(data.decode("utf-8", "replace"))


def tidy(text: str) -> str:
    """Text from outside (parsed JSON may hold lone surrogates) as text that every store takes, at most `BODY` bytes."""
    whole = text.encode("utf-8", "replace").replace(b"\0", "\ufffd".encode())
    return whole[:BODY].decode("utf-8", "ignore")


def _talk(connection: http.client.HTTPConnection, request: Request, deadline: Deadline) -> tuple[int, bytes]:
    connection.connect()
    deadline.watch(connection.sock)
    connection.request(request.method, request.path, request.body, dict(request.headers))
    answer = connection.getresponse()
    if deadline.passed:  # its head was cut short by us
        raise TimeoutError
    parts, size = [], 0
    try:
        while size <= BODY and (part := answer.read1(1 << 16)):
            parts.append(part)
            size += len(part)
    except (OSError, http.client.HTTPException):
        # Cut short by us at the deadline: what came so far is still worth showing.
        if not deadline.passed:
            raise
    finally:
        answer.close()
    if answer.length and size <= BODY and not deadline.passed:
        raise http.client.IncompleteRead(b"", answer.length)
    return answer.status, b"".join(parts)


def _late(began: float, seconds: float) -> Got:
    return Got(seconds=_since(began), error=f"no answer within {seconds:g} s", late=True)


def _since(began: float) -> float:
    return time.monotonic() - began


def _words(error: Exception) -> str:
    match error:
        case http.client.RemoteDisconnected():
            return "the connection ended without an answer"
        case ConnectionResetError() | BrokenPipeError():
            return "the connection was reset"
        case http.client.IncompleteRead():
            return "the connection ended in the middle of the answer"
        case http.client.InvalidURL():
            return "the path of the request holds what a path must not"
        case http.client.HTTPException():
            return f"the answer is not HTTP ({type(error).__name__})"
        case ValueError():
            return "the message cannot be sent over HTTP: a header or the path holds what it must not"
        case _:
            return tidy(f"no connection: {error}")[:300]
