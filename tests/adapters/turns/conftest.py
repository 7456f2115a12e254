"""Real local agents that misbehave byte by byte."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from moss.ports import Place

Act = Callable[[socket.socket, bytes, threading.Event], None]


class Agent:
    """Listens on a free port; each connection's request is read whole, kept, and then handed to `act`."""

    def __init__(self) -> None:
        self.act: Act = says(200, b"{}")
        self.seen: list[bytes] = []
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def place(self) -> Place:
        return Place(port=self._listener.getsockname()[1])

    @property
    def asked(self) -> dict[str, object]:
        """The JSON body of the last request."""
        return dict(json.loads(self.seen[-1].partition(b"\r\n\r\n")[2]))

    @property
    def head(self) -> list[str]:
        return self.seen[-1].partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")

    def close(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._answer, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.seen.append(_request(connection))
            self.act(connection, self.seen[-1], self._over)


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += _more(connection)
    return head + b"\r\n\r\n" + body


def _more(connection: socket.socket) -> bytes:
    if not (data := connection.recv(1 << 16)):
        raise ConnectionError("the driver hung up")
    return data


def says(status: int, body: bytes, length: int | None = None) -> Act:
    """An HTTP answer; `length` is what its head promises."""
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    return lambda connection, _, __: connection.sendall(head.encode() + body)


def raw(data: bytes) -> Act:
    return lambda connection, _, __: connection.sendall(data)


def silence(connection: socket.socket, _: bytes, over: threading.Event) -> None:
    over.wait(10)


def drip(connection: socket.socket, _: bytes, over: threading.Event) -> None:
    """An answer that never ends, a byte at a time: no single read ever times out."""
    connection.sendall(b"HTTP/1.1 200 X\r\n\r\n")
    while not over.wait(0.01):
        connection.sendall(b"x")


def drip_head(connection: socket.socket, _: bytes, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 X\r\nX: ")
    while not over.wait(0.01):
        connection.sendall(b"x")


def flood(connection: socket.socket, _: bytes, over: threading.Event) -> None:
    """100 MB, or as much of it as the other side takes."""
    connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 104857600\r\n\r\n")
    for _block in range(100):
        connection.sendall(b"\xff" * (1 << 20))


@pytest.fixture
def agent() -> Iterator[Agent]:
    made = Agent()
    yield made
    made.close()


@pytest.fixture
def nobody() -> Place:
    """A place where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return Place(port=listener.getsockname()[1])
