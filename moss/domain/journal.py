"""Owns the form of the journal: entries that carry the hash of the one before. Never what an event means.

Invariant: `entry.hash == chain(entry.prev, run, seq, at, event)`; the first entry's `prev` is `GENESIS`.
"""

from datetime import datetime
from typing import Any

from moss.domain.frozen import Frozen, canonical, sha256
from moss.domain.ids import Digest, RunId

GENESIS = Digest("sha256:" + "0" * 64)


class Entry(Frozen):
    """One line of the journal. `event` is the event's JSON form (a closed model of `domain.run` reads it)."""

    run: RunId
    seq: int
    at: datetime
    kind: str
    event: dict[str, Any]
    prev: Digest
    hash: Digest


def chain(prev: Digest, run: RunId, seq: int, at: datetime, event: dict[str, Any]) -> Digest:
    """The hash of an entry. `at` is UTC; it is written in ISO form with microseconds."""
    body = {"prev": prev, "run": run, "seq": seq, "at": at.isoformat(timespec="microseconds"), "event": event}
    return Digest(sha256(canonical(body)))
