"""Owns a tiny agent for tests of the live target: standard library only, so it runs from any tree by itself.

`python agent.py --port N --state DIR` (in a container also `--host 0.0.0.0`). Its version and its faults stand in
`conduct.json` beside it, since versions differ by their source. It keeps each message in `messages.jsonl` and in an
SQLite database (WAL) before it answers, and holds a lock on its state: a second writer is written down in `violations`.
"""

import argparse
import fcntl
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONDUCT = {
    "version": "1",
    "exits_after": None,
    "exit_code": 7,
    "deaf": False,
    "no_port": False,
    "ready_after": 0.0,
    "status": 200,
    "dies_under": None,
    "schema": 1,
    "canary": True,
}
"""
exits_after: seconds of life · deaf: ignores SIGTERM · no_port: never listens · ready_after: seconds until ready
status: of every answer but health · dies_under: number of the message it dies under · schema: of its database
canary: False answers 500 to the message "ping"
"""


class Agent:
    """State and conduct of one process."""

    def __init__(self, state: Path, conduct: dict[str, object]) -> None:
        self.conduct, self.state = {**CONDUCT, **conduct}, state
        self.began, self.count = time.monotonic(), 0
        self._lock = threading.Lock()
        state.mkdir(parents=True, exist_ok=True)
        self._writer = (state / "writer.lock").open("a")
        try:
            fcntl.flock(self._writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with (state / "violations").open("a") as file:
                file.write(f"two writers: {os.getpid()} came while another wrote\n")
        self._db = sqlite3.connect(state / "agent.db", check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS said (text TEXT, version TEXT)")
        self._schema(int(str(self.conduct["schema"])))

    def _schema(self, wanted: int) -> None:
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found > wanted:
            sys.exit(f"the database is of schema {found}, this version knows {wanted}")
        self._db.execute(f"PRAGMA user_version={wanted}")

    def ready(self) -> bool:
        return time.monotonic() - self.began >= float(str(self.conduct["ready_after"]))

    def take(self, text: str) -> tuple[int, dict[str, object]]:
        """One message: kept before it is answered."""
        with self._lock:
            self.count += 1
            if self.conduct["dies_under"] == self.count:
                os._exit(int(str(self.conduct["exit_code"])))
            status = int(str(self.conduct["status"]))
            if not self.conduct["canary"] and text == "ping":
                status = 500
            if status == 200:
                self._keep(text)
            return status, {"reply": text, "version": self.conduct["version"], "pid": os.getpid()}

    def _keep(self, text: str) -> None:
        line = json.dumps({"text": text, "version": self.conduct["version"]})
        with (self.state / "messages.jsonl").open("a") as file:
            file.write(line + "\n")
        self._db.execute("INSERT INTO said VALUES (?, ?)", (text, self.conduct["version"]))

    def close(self) -> None:
        self._db.close()


class Answering(BaseHTTPRequestHandler):
    """GET /health, GET /env; POST anything is a message. `?slow=SECONDS` answers late."""

    protocol_version = "HTTP/1.1"
    agent: Agent

    def do_GET(self) -> None:
        if self.path == "/env":
            self._answer(200, dict(os.environ))
        elif self.agent.conduct["status"] != 200:
            self._answer(int(str(self.agent.conduct["status"])), {})
        else:
            self._answer(200 if self.agent.ready() else 503, {"version": self.agent.conduct["version"]})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        _, _, slow = self.path.partition("?slow=")
        time.sleep(float(slow or 0))
        self._answer(*self.agent.take(text))

    def _answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        return


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    words = parser.parse_args()
    conduct = Path(__file__).with_name("conduct.json")
    agent = Agent(words.state, json.loads(conduct.read_text()) if conduct.exists() else {})
    signal.signal(signal.SIGTERM, signal.SIG_IGN if agent.conduct["deaf"] else lambda *_: _end(agent))
    if agent.conduct["exits_after"] is not None:
        _exit_later(agent)
    if agent.conduct["no_port"]:
        threading.Event().wait()
    serving = type("Serving", (Answering,), {"agent": agent})
    server = ThreadingHTTPServer((words.host, words.port), serving)
    server.daemon_threads = True
    server.serve_forever()


def _end(agent: Agent) -> None:
    agent.close()
    os._exit(0)


def _exit_later(agent: Agent) -> None:
    seconds, code = float(str(agent.conduct["exits_after"])), int(str(agent.conduct["exit_code"]))
    if seconds == 0:
        os._exit(code)
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    main()
