"""Owns the clerk's door: HTTP in, answers out, health, and the way to stop. Never decides what is answered.

Invariant: who was let in is answered. On SIGTERM the door closes, and the process ends after the last answer.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from clerk import VERSION
from clerk.loop import Agent
from clerk.sessions import BadSession, Turn

LARGEST = 1 << 20


class Server(ThreadingHTTPServer):
    """Listens at once; answers turns as soon as it was given an agent (`ready`)."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, host: str, port: int, after_turn: Callable[[], None] | None = None) -> None:
        self.agent: Agent | None = None
        self.after_turn = after_turn or (lambda: None)
        self.stopping = False
        self.boot = uuid.uuid4().hex
        self._open = 0
        self._changed = threading.Condition()
        super().__init__((host, port), Door)

    def ready(self, agent: Agent) -> None:
        self.agent = agent

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def drain(self) -> None:
        """Lets nobody in any more and waits for those who are."""
        self.stopping = True
        self.shutdown()
        self.socket.close()
        with self._changed:
            self._changed.wait_for(lambda: self._open == 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class Door(BaseHTTPRequestHandler):
    """One connection, one request."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = f"clerk/{VERSION}"
    timeout = 5

    def do_GET(self) -> None:
        if self.path != "/health":
            return self._json(404, _error(f"no such page: {self.path[:100]}"))
        if self.server.stopping or self.server.agent is None:
            return self._json(503, {"status": "stopping" if self.server.stopping else "starting"})
        return self._json(200, {"status": "ready", "boot": self.server.boot, "version": VERSION})

    def do_POST(self) -> None:
        if self.path != "/v1/chat/completions":
            return self._json(404, _error(f"no such page: {self.path[:100]}"))
        if self.server.agent is None:
            return self._json(503, _error("the clerk is starting"))
        try:
            asked = _asked(self._body())
        except ValueError as error:
            return self._json(400, _error(str(error)))
        session = self.headers.get("X-Session-Id") or uuid.uuid4().hex
        try:
            self._turn(self.server.agent, session, *asked)
        except BadSession as error:
            self._json(400, _error(str(error)))

    def _turn(self, agent: Agent, session: str, message: str, user: str | None, stream: bool) -> None:
        if not stream:
            turn = agent.answer(session, message, user, lambda _: None)
            self.server.after_turn()
            body = _error(turn.error) if turn.error else _completion(turn)
            return self._json(turn.status or 500, body, session)
        words = Stream(self, session)
        turn = agent.answer(session, message, user, words.text)
        return words.end(turn)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LARGEST:
            raise ValueError(f"a request has a Content-Length of at most {LARGEST} bytes")
        return self.rfile.read(int(length))

    def _json(self, status: int, body: dict, session: str | None = None) -> None:
        data = json.dumps(body).encode()
        self.begin(status, "application/json", session, len(data))
        self.wfile.write(data)

    def begin(self, status: int, content_type: str, session: str | None, length: int | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if session is not None:
            self.send_header("X-Session-Id", session)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """What customers say is in the sessions, not in a log."""


class Stream:
    """An answer in pieces, as server-sent events. A client that went away does not end the turn."""

    def __init__(self, door: Door, session: str) -> None:
        self._door, self._session, self._begun, self._gone = door, session, False, False
        self._id = f"chatcmpl-{uuid.uuid4().hex[:16]}"

    def text(self, text: str) -> None:
        self._send({"delta": {"content": text}, "finish_reason": None})

    def end(self, turn: Turn) -> None:
        if turn.error and not self._begun:
            return self._door._json(turn.status or 500, _error(turn.error), self._session)
        if turn.error:
            self._write(json.dumps(_error(turn.error)))
        self._send({"delta": {}, "finish_reason": turn.finish})
        return self._write("[DONE]")

    def _send(self, choice: dict) -> None:
        head = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": "clerk",
        }
        self._write(json.dumps({**head, "choices": [{"index": 0, **choice}]}))

    def _write(self, event: str) -> None:
        if self._gone:
            return
        try:
            if not self._begun:
                self._begun = True
                self._door.begin(200, "text/event-stream", self._session, None)
            self._door.wfile.write(f"data: {event}\n\n".encode())
            self._door.wfile.flush()
        except OSError:
            self._gone = True


def _asked(body: bytes) -> tuple[str, str | None, bool]:
    """The new message, who asks, and whether the answer is streamed. Raises: ValueError with a sentence."""
    try:
        given = json.loads(body)
    except ValueError:
        raise ValueError("the request is not JSON") from None
    messages = given.get("messages") if isinstance(given, dict) else None
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, dict) or last.get("role") != "user" or not isinstance(last.get("content"), str):
        raise ValueError("the last of `messages` must be a user's, with text as its content")
    user = given.get("user")
    return last["content"], user if isinstance(user, str) else None, given.get("stream") is True


def _completion(turn: Turn) -> dict:
    message = {"role": "assistant", "content": turn.reply}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex[:16]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": "clerk",
        "choices": [{"index": 0, "message": message, "finish_reason": turn.finish}],
    }


def _error(sentence: str) -> dict:
    return {"error": {"message": sentence, "type": "clerk_error"}}
