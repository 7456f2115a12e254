"""Owns the store that forgets: all of `moss.ports.Store` in plain dictionaries, for tests.

Held to the same conformance suite as the real one. Never a disk, but for the folder of `artifact_path`.
Invariant: every method holds the one lock, so each is one transaction for the threads that share it.
"""

import shutil
import tempfile
import uuid
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from moss.domain.batch import BatchState
from moss.domain.frozen import canonical, sha256
from moss.domain.ids import Digest, RunId
from moss.domain.journal import GENESIS, Entry, chain
from moss.errors import ClaimLost, SeqTaken, StoreBroken
from moss.ports import (
    BrokenLink,
    Claim,
    Clock,
    Head,
    Notice,
    Outgoing,
    RunRow,
)
from moss.testing.store_evidence import MemoryEvidence, locked


@dataclass
class _Artifact:
    data: bytes
    runs: set[RunId]
    at: datetime


class MemoryStore(MemoryEvidence):
    """`Store` in memory. `artifacts`: where `artifact_path` writes; without it a folder that goes with the store."""

    def __init__(self, clock: Clock, artifacts: Path | None = None) -> None:
        self._clock = clock
        super().__init__()
        self._folder = artifacts or Path(tempfile.mkdtemp(prefix="moss-artifacts-"))
        if artifacts is None:
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._entries: dict[RunId, list[Entry]] = {}
        self._runs: dict[RunId, RunRow] = {}
        self._claims: dict[RunId, tuple[Claim, float]] = {}
        self._artifacts: dict[Digest, _Artifact] = {}
        self._outbox: dict[str, Outgoing] = {}
        self._closed_notices: dict[str, Literal["delivered", "undeliverable"]] = {}
        self._facts: dict[str, str] = {}

    # the journal

    @locked
    def append(
        self,
        run: RunId,
        seq: int,
        at: datetime,
        kind: str,
        event: Mapping[str, object],
        head: Head,
        claim: Claim | None,
    ) -> Entry:
        if claim is not None:
            self._holds(claim, run)
        entries = self._entries.get(run, [])
        if seq != len(entries) + 1:
            raise SeqTaken(f"{run} is at entry {len(entries)}; entry {seq} cannot be added.")
        prev = entries[-1].hash if entries else GENESIS
        at, body = at.astimezone(UTC), dict(event)
        entry = Entry(run=run, seq=seq, at=at, kind=kind, event=body, prev=prev, hash=chain(prev, run, seq, at, body))
        self._entries[run] = [*entries, entry]
        started = self._runs[run].started if run in self._runs else at
        self._runs[run] = RunRow(
            run, head.substrate, head.batch, head.label, head.stage, head.outcome, started, at, seq
        )
        return entry

    @locked
    def entries(self, run: RunId, after: int = 0, limit: int | None = None) -> Sequence[Entry]:
        found = self._entries.get(run, [])[after:]
        return found if limit is None else found[:limit]

    @locked
    def runs(
        self, *, active: bool | None = None, substrate: str | None = None, limit: int = 100, offset: int = 0
    ) -> Sequence[RunRow]:
        rows = [
            row
            for row in reversed(self._runs.values())
            if (active is None or active == (row.outcome is None)) and substrate in (None, row.substrate)
        ]
        return rows[offset : offset + limit]

    @locked
    def run(self, run: RunId) -> RunRow | None:
        return self._runs.get(run)

    @locked
    def new_run_id(self) -> RunId:
        return RunId(f"ev-{self._next('run'):02d}")

    @locked
    def verify(self, run: RunId | None = None) -> BrokenLink | None:
        for name in [run] if run else list(self._entries):
            prev = GENESIS
            for at, entry in enumerate(self._entries.get(name, []), 1):
                if entry.prev != prev or entry.hash != chain(prev, name, at, entry.at, entry.event):
                    return BrokenLink(name, at, "its hash does not fit")
                prev = entry.hash
        return None

    # claims

    @locked
    def claim(self, run: RunId, owner: str, seconds: float) -> Claim | None:
        held, until = self._claims.get(run, (None, 0.0))
        free = held is None or self._clock.monotonic() >= until
        if held is not None and held.owner == owner:
            return self._grant(held, seconds)
        if not free:
            return None
        return self._grant(Claim(run, owner, uuid.uuid4().hex, self._clock.now()), seconds)

    @locked
    def renew(self, claim: Claim, seconds: float) -> Claim:
        self._holds(claim, claim.run)
        return self._grant(claim, seconds)

    @locked
    def release(self, claim: Claim) -> None:
        held, _ = self._claims.get(claim.run, (None, 0.0))
        if held is not None and held.token == claim.token:
            del self._claims[claim.run]

    def _grant(self, claim: Claim, seconds: float) -> Claim:
        granted = replace(claim, expires=self._clock.now() + timedelta(seconds=seconds))
        self._claims[claim.run] = granted, self._clock.monotonic() + seconds
        return granted

    def _holds(self, claim: Claim, run: RunId) -> None:
        held, until = self._claims.get(run, (None, 0.0))
        if held is None or held.token != claim.token or self._clock.monotonic() >= until:
            raise ClaimLost(f"{claim.owner} no longer holds {run}.")

    # artifacts

    @locked
    def put(self, data: bytes, kind: str, run: RunId | None = None) -> Digest:
        digest = Digest(sha256(data))
        kept = self._artifacts.setdefault(digest, _Artifact(data, set(), self._clock.now()))
        kept.at = self._clock.now()
        kept.runs |= {run} if run else set()
        path = self.artifact_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return digest

    @locked
    def get(self, digest: Digest) -> bytes | None:
        kept = self._artifacts.get(digest)
        if kept is None:
            return None
        path = self.artifact_path(digest)
        if not path.is_file() or sha256(path.read_bytes()) != digest:
            raise StoreBroken(f"artifact {digest} is not what was stored.")
        return kept.data

    def artifact_path(self, digest: Digest) -> Path:
        name = digest.removeprefix("sha256:")
        return self._folder / name[:2] / name

    @locked
    def drop_artifacts(self, before: datetime, keep: Iterable[Digest]) -> int:
        living = [row.id for row in self._runs.values() if row.outcome is None]
        named = "\n".join(
            [canonical(entry.event).decode() for run in living for entry in self._entries[run]]
            + [
                canonical(sealed.batch).decode()
                for sealed in self._batches.values()
                if sealed.state not in (BatchState.DONE, BatchState.DISMISSED)
            ]
        )
        kept = set(keep)
        gone = [
            digest
            for digest, artifact in self._artifacts.items()
            if artifact.at < before and digest not in kept and digest not in named and not artifact.runs & set(living)
        ]
        for digest in gone:
            del self._artifacts[digest]
            self.artifact_path(digest).unlink(missing_ok=True)
        return len(gone)

    # outbox

    @locked
    def enqueue(self, notice: Notice) -> None:
        self._outbox.setdefault(notice.id, Outgoing(notice, 0, notice.at))

    @locked
    def due(self, now: datetime, limit: int = 10) -> Sequence[Outgoing]:
        waiting = [out for name, out in self._outbox.items() if name not in self._closed_notices and out.due <= now]
        return sorted(waiting, key=lambda out: (out.due, out.notice.id))[:limit]

    @locked
    def delivered(self, notice_id: str) -> None:
        if notice_id in self._outbox:
            self._closed_notices[notice_id] = "delivered"

    @locked
    def postpone(self, notice_id: str, until: datetime, taken: Sequence[str] = (), because: str = "") -> None:
        out = self._outbox.get(notice_id)
        if out is not None:
            names = tuple(dict.fromkeys([*out.taken, *taken]))
            self._outbox[notice_id] = Outgoing(out.notice, out.attempts + 1, until, names, because)

    @locked
    def give_up(self, notice_id: str, because: str) -> None:
        if notice_id in self._outbox:
            self._outbox[notice_id] = replace(self._outbox[notice_id], because=because)
            self._closed_notices[notice_id] = "undeliverable"

    @locked
    def undeliverable(self, limit: int = 100) -> Sequence[Outgoing]:
        found = [self._outbox[name] for name, how in self._closed_notices.items() if how == "undeliverable"]
        return sorted(found, key=lambda out: (out.notice.at, out.notice.id), reverse=True)[:limit]

    @locked
    def again(self, notice_id: str, due: datetime) -> None:
        if self._closed_notices.get(notice_id) == "undeliverable":
            del self._closed_notices[notice_id]
            self._outbox[notice_id] = replace(self._outbox[notice_id], due=due)

    # facts

    @locked
    def fact(self, name: str) -> str | None:
        return self._facts.get(name)

    @locked
    def set_fact(self, name: str, value: str | None, *, expect: str | Literal["any"] | None = "any") -> bool:
        if expect != "any" and self._facts.get(name) != expect:
            return False
        if value is None:
            self._facts.pop(name, None)
        else:
            self._facts[name] = value
        return True

    @locked
    def facts(self, prefix: str) -> Mapping[str, str]:
        return {name: value for name, value in sorted(self._facts.items()) if name.startswith(prefix)}
