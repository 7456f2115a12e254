"""Owns the customers of the demo: a fixed day of messages, and a sender that never pauses. Standard library only.

    python traffic.py day    --port 8080
    python traffic.py steady --port 8080 --seconds 10

Prints one JSON object. Never reads the clerk's state but in `missing`. Invariant: every message that was begun is
counted exactly once, as answered, refused or lost.
"""

import argparse
import http.client
import json
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

# (session, message): 23 turns. 3 refunds of slow-bank orders (refund-twice), 1 order written `#1019` (lost-order).
DAY: tuple[tuple[str, str], ...] = (
    ("ada-1", "Hello!"),
    ("ada-1", "What orders does Ada have?"),
    ("ada-1", "Where is order 1007?"),
    ("bo-1", "What is the status of order 1002?"),
    ("bo-1", "Please add a note to order 1002: ring twice"),
    ("cyd-1", "Please refund my order 1017."),
    ("dee-1", "Where is order 1004?"),
    ("dee-1", "Please mail the customer of order 1004 that it is on its way"),
    ("ada-1", "Please refund order 1007."),
    ("eli-1", "Compare the orders 1005 and 1011 for me"),
    ("eli-1", "The kettle is broken. Please refund order #1005."),
    ("fay-1", "Find order 1006"),
    ("fay-1", "What is the status of order 1012?"),
    ("fay-1", "Please add a note to order 1012: leave it with the neighbour"),
    ("ada-2", "Where is order #1019?"),
    ("ada-2", "What is the status of order #1019?"),
    ("bo-1", "What orders does Bo have?"),
    ("dee-1", "Please refund order 1010 and mail me"),
    ("fay-2", "What orders does Fay have?"),
    ("bo-2", "Good morning"),
    ("bo-2", "I want a refund for order 1021, it never came"),
    ("cyd-1", "What is the status of order 1003?"),
    ("bo-2", "Thank you"),
)
STEADY = (
    "What is the status of order 1002? (message {id})",
    "Where is order 1003? (message {id})",
    "What orders does Dee have? (message {id})",
    "Thank you. (message {id})",
)


AGAIN = (0.1, 0.4)
"""seconds before a message is sent again that the agent died under"""


@dataclass
class Outcome:
    """What became of one message. `status` None: it was lost (no answer came)."""

    status: int | None
    seconds: float
    text: str = ""


@dataclass
class Tally:
    """What became of many. `longest_wait` in seconds, of the answered ones; `acknowledged`: their message ids.

    `again`: messages that were answered with an error at first (the agent died under them) and sent once more.
    """

    sent: int = 0
    answered: int = 0
    again: int = 0
    refused: int = 0
    failed: int = 0
    lost: int = 0
    longest_wait: float = 0.0
    acknowledged: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def count(self, message: str, outcome: Outcome) -> None:
        self.sent += 1
        match outcome.status:
            case 200:
                self.answered += 1
                self.longest_wait = max(self.longest_wait, round(outcome.seconds, 3))
                self.acknowledged.append(message)
                return
            case 503 | 429:
                self.refused += 1
            case None:
                self.lost += 1
            case _:
                self.failed += 1
        self.troubles.append(f"{message}: {outcome.status} {outcome.text[:200]}")


@dataclass
class Sums:
    """What customers met, over all steady senders of a process. Never lost: it is added up from their tallies."""

    sent: int = 0
    again: int = 0
    refused: int = 0
    failed: int = 0
    lost: int = 0
    longest_wait: float = 0.0
    acknowledged: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def add(self, tally: Tally) -> None:
        self.sent += tally.sent
        self.again += tally.again
        self.refused += tally.refused
        self.failed += tally.failed
        self.lost += tally.lost
        self.longest_wait = max(self.longest_wait, tally.longest_wait)
        self.acknowledged += tally.acknowledged
        self.troubles += tally.troubles


def send(host: str, port: int, session: str, message: str, seconds: float = 120.0) -> Outcome:
    """One message of a customer. Never raises for what the other side does."""
    began = time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("POST", "/v1/chat/completions", body_of(session, message), _headers(session))
        answer = connection.getresponse()
        return Outcome(answer.status, time.monotonic() - began, answer.read().decode("utf-8", "replace"))
    except ConnectionRefusedError:
        return Outcome(503, time.monotonic() - began, "connection refused")
    except (OSError, http.client.HTTPException) as error:
        return Outcome(None, time.monotonic() - began, type(error).__name__)
    finally:
        connection.close()


def body_of(session: str, message: str) -> bytes:
    """What is sent for a message."""
    return json.dumps({"model": "clerk", "user": session.split("-")[0], "messages": [_user(message)]}).encode()


def day(host: str, port: int, messages: Iterable[tuple[str, str]] = DAY) -> Tally:
    """The whole day, one message after the other."""
    tally = Tally()
    for place, (session, message) in enumerate(messages, 1):
        tally.count(f"day-{place}", send(host, port, session, message))
    return tally


class Steady:
    """Customers who send without pause: each waits for the answer and sends the next message.

    Use: `with Steady(host, port) as steady: ...`, then `steady.tally()`. Sessions are `NAME-1` to `NAME-N`; ids of
    messages go on from `first`, so two senders after each other never use the same one.
    """

    def __init__(self, host: str, port: int, name: str = "steady", customers: int = 4, first: int = 1) -> None:
        self._host, self._port, self._name, self._first = host, port, name, first
        self._stop, self._lock, self._tally = threading.Event(), threading.Lock(), Tally()
        self._threads = [threading.Thread(target=self._run, args=(i + 1,), daemon=True) for i in range(customers)]

    def __enter__(self) -> "Steady":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Sends nothing more, and waits for the answers of what was sent."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def tally(self) -> Tally:
        """What was counted so far."""
        with self._lock:
            return Tally(**json.loads(json.dumps(asdict(self._tally))))

    def _run(self, customer: int) -> None:
        number = self._first
        while not self._stop.is_set():
            message = f"{self._name}-{customer}-{number}"
            words = STEADY[number % len(STEADY)].format(id=message)
            outcome = send(self._host, self._port, f"{self._name}-{customer}", words)
            for pause in AGAIN:
                if outcome.status != 502:
                    break
                # An answer that says the agent died under it: any client sends such a message again, a little later.
                time.sleep(pause)
                outcome = send(self._host, self._port, f"{self._name}-{customer}", words)
                with self._lock:
                    self._tally.again += 1
            with self._lock:
                self._tally.count(message, outcome)
            number += 1
            if outcome.status != 200:
                self._stop.wait(0.05)


def missing(state: Path, acknowledged: Sequence[str]) -> list[str]:
    """Messages that were answered and are in no session of the state folder: what was lost after all."""
    kept = "".join(path.read_text("utf-8", "replace") for path in sorted((state / "sessions").glob("*.jsonl")))
    return [message for message in acknowledged if f"(message {message})" not in kept]


def _user(message: str) -> dict[str, str]:
    return {"role": "user", "content": message}


def _headers(session: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "X-Session-Id": session}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="traffic", description="Customers of the clerk.")
    parser.add_argument("what", choices=("day", "steady"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long `steady` sends")
    parser.add_argument("--customers", type=int, default=4)
    given = parser.parse_args(words)
    if given.what == "day":
        tally = day(given.host, given.port)
    else:
        with Steady(given.host, given.port, customers=given.customers) as steady:
            time.sleep(given.seconds)
        tally = steady.tally()
    print(json.dumps(asdict(tally)))
    return 0 if tally.sent == tally.answered else 1


if __name__ == "__main__":
    sys.exit(main())
