"""Owns the people who talk to the Hermes of the demo: a fixed day, and some who go on while it is swapped.

Invariant: every message that was begun is counted once, as answered, refused or lost.
"""

import http.client
import json
import threading
import time
from dataclasses import dataclass, field

# (session, message): 15 turns. 3 reports, which the model's provider cuts off behind the tool's name.
DAY: tuple[tuple[str, str], ...] = (
    ("ann", "Hello!"),
    ("ann", "Please make a note on kiwi: ripe on Monday"),
    ("ann", "Please count to 3"),
    ("bob", "Good morning"),
    ("bob", "Please make a note on plums: too early"),
    ("ann", "Please write the report on kiwi"),
    ("bob", "Please read notes/plums.md"),
    ("cyd", "Please count to 5"),
    ("bob", "Please write the report on plums"),
    ("cyd", "Please make a note on figs: two boxes"),
    ("dee", "Thank you"),
    ("dee", "Please make a note on dates: sold out"),
    ("cyd", "Please write the report on figs"),
    ("dee", "Please read notes/dates.md"),
    ("eli", "Please count to 2"),
)


@dataclass(frozen=True, slots=True)
class Said:
    """An answer; `status` None: none came."""

    status: int | None
    text: str
    seconds: float


@dataclass(slots=True)
class Tally:
    """What became of many messages."""

    sent: int = 0
    answered: int = 0
    refused: int = 0
    lost: int = 0
    longest_wait: float = 0.0
    troubles: list[str] = field(default_factory=list)

    def count(self, said: Said) -> None:
        self.sent += 1
        match said.status:
            case 200:
                self.answered += 1
                self.longest_wait = max(self.longest_wait, said.seconds)
            case 503 | 429:
                self.refused += 1
            case _:
                self.lost += 1
        if said.status != 200:
            self.troubles.append(f"{said.status} {said.text[:200]}")


@dataclass(frozen=True, slots=True)
class Line:
    """Where Hermes answers."""

    port: int
    key: str

    def say(self, session: str, message: str, seconds: float = 120.0) -> Said:
        """One message; never raises for what the other side does."""
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        headers = {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "X-Hermes-Session-Id": session,
        }
        body = json.dumps({"model": "hermes", "messages": [{"role": "user", "content": message}]})
        try:
            connection.request("POST", "/v1/chat/completions", body, headers)
            answer = connection.getresponse()
            return Said(answer.status, _words(answer.read()), time.monotonic() - began)
        except (OSError, http.client.HTTPException) as error:
            return Said(None, type(error).__name__, time.monotonic() - began)
        finally:
            connection.close()


def _words(body: bytes) -> str:
    try:
        return str(json.loads(body)["choices"][0]["message"]["content"])
    except (ValueError, LookupError, TypeError):
        return body.decode("utf-8", "replace")


class Steady:
    """Two who send without pause, each waiting for the answer: `with Steady(line) as steady: ...`, then the tally."""

    def __init__(self, line: Line) -> None:
        self._line, self._stop, self.tally = line, threading.Event(), Tally()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(name,), daemon=True) for name in ("fay", "gus")]

    def __enter__(self) -> "Steady":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Sends nothing more, and waits for the answers of what was sent."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            said = self._line.say(name, f"Hello again ({number})")
            with self._lock:
                self.tally.count(said)
            self._stop.wait(0.1)
