"""Owns a model upstream on a real socket for tests: it says what a test tells it to, byte by byte. Never a real model.

Invariant: it keeps every request that reached it, so a test can count what was paid for.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Reached:
    """A request as the upstream got it. Header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def last(self) -> str:
        """The last message's text."""
        return str(self.json["messages"][-1]["content"])


class Line:
    """The upstream's end of one connection."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler

    def head(self, status: int, **headers: str) -> None:
        self._handler.send_response_only(status)
        for name, value in headers.items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.end_headers()

    def send(self, data: bytes) -> None:
        self._handler.wfile.write(data)
        self._handler.wfile.flush()

    def chunk(self, data: bytes) -> None:
        """One piece of a chunked body; an empty one ends it."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def json(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.head(status, Content_Type="application/json", Content_Length=str(len(body)))
        self.send(body)

    def gone(self) -> bool:
        """Waits until the other side hangs up: True then, False when it sent something instead."""
        try:
            return self._handler.rfile.read(1) == b""
        except OSError:
            return True


Act = Callable[[Reached, Line], None]


def completion(text: str, sent: int = 10, said: int = 5) -> dict[str, Any]:
    """A chat completion with usage."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def echo(reached: Reached, line: Line) -> None:
    """Says `real: ` and the last message."""
    line.json(200, completion(f"real: {reached.last}"))


@dataclass(slots=True)
class ModelServer:
    """A running upstream. `act` may be exchanged at any moment."""

    url: str
    act: Act = echo
    reached: list[Reached] = field(default_factory=list)


@contextmanager
def model_server(act: Act = echo) -> Iterator[ModelServer]:
    """An upstream on a free port for the block's time."""

    class Asked(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reached = Reached(self.path, headers, self.rfile.read(size))
            running.reached.append(reached)
            try:
                running.act(reached, Line(self))
            except OSError:
                # the gateway hung up: what a test wants to see
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            return None

    class Server(ThreadingHTTPServer):
        daemon_threads = False
        block_on_close = True
        request_queue_size = 256

        def process_request(self, request: Any, client_address: Any) -> None:
            lines.add(request)
            super().process_request(request, client_address)

        def shutdown_request(self, request: Any) -> None:
            lines.discard(request)
            super().shutdown_request(request)

    lines: set[socket.socket] = set()
    server = Server(("127.0.0.1", 0), Asked)
    running = ModelServer(f"http://127.0.0.1:{server.server_address[1]}", act)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        for line in tuple(lines):
            # an idle connection of a client's pool would keep its thread
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        server.server_close()
