"""Owns the kept exchanges: a recording a grant and attempt, and a file a day for the live agent.

Never decides what is kept of an exchange. Invariant: a file holds whole lines but for the one that a kill cut short;
that one is removed before the next is added.
"""

import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import structlog

from moss.domain.evidence import Exchange
from moss.domain.ids import Key
from moss.gateway import recording

log = structlog.get_logger()

BEGUN = re.compile(rb'\{"ordinal":\d+,"at":"([0-9T:.+Z-]{1,40})"')
"""How a line of `recording` begins: so a line of another time is passed over without being read."""
BLOCK = 64 << 10


class Records:
    """Below `records` and `live`; bounds in bytes."""

    def __init__(self, records: Path, live: Path, record_bytes: int, live_day_bytes: int) -> None:
        self._records, self._live = records, live
        self._record_bytes, self._live_day_bytes = record_bytes, live_day_bytes
        self._sizes: dict[Path, int] = {}

    def add(self, key: Key, attempt: int, exchange: Exchange) -> None:
        self._append(self._path(key, attempt), recording.line(exchange))

    def full(self, key: Key, attempt: int) -> bool:
        """The record of a grant has reached its bound."""
        return self._size(self._path(key, attempt)) >= self._record_bytes

    def of(self, key: Key, attempt: int) -> Sequence[Exchange]:
        """All exchanges of an attempt by ordinal."""
        return self._read(self._path(key, attempt))

    def add_live(self, exchange: Exchange) -> None:
        path = self._day(exchange.at)
        if self._size(path) >= self._live_day_bytes:
            log.warning("the live record of a day is full", file=path.name)
            return
        self._append(path, recording.line(exchange))

    def live_between(self, since: datetime, until: datetime) -> Sequence[Exchange]:
        """Begun at `since` or later and before `until`, oldest first. Memory: what it gives, whatever the day holds."""
        first, last = str(since.astimezone(UTC).date()), str(until.astimezone(UTC).date())
        days = (path for path in sorted(self._live.glob("*.jsonl")) if first <= path.stem <= last)
        found = [each for path in days for each in _begun_between(path, since, until)]
        return sorted(found, key=lambda each: each.at)

    def prune(self, now: datetime, days: int) -> None:
        """Drops records of grants that nothing was added to for `days`."""
        oldest = (now - timedelta(days=days)).timestamp()
        for path in self._records.glob("*.jsonl"):
            if path.stat().st_mtime < oldest:
                self._sizes.pop(path, None)
                path.unlink(missing_ok=True)

    def prune_live(self, now: datetime, days: int) -> None:
        """Drops the days before the last `days`."""
        oldest = str((now.astimezone(UTC) - timedelta(days=days)).date())
        for path in self._live.glob("*.jsonl"):
            if path.stem < oldest:
                self._sizes.pop(path, None)
                path.unlink(missing_ok=True)

    def _path(self, key: Key, attempt: int) -> Path:
        return self._records / f"{sha256(key.encode()).hexdigest()[:40]}.{attempt}.jsonl"

    def _day(self, at: datetime) -> Path:
        return self._live / f"{at.astimezone(UTC).date()}.jsonl"

    @staticmethod
    def _read(path: Path) -> Sequence[Exchange]:
        try:
            found = recording.load_whole_lines(path.read_bytes())
            return sorted(found, key=lambda exchange: exchange.ordinal)
        except FileNotFoundError:
            return ()

    def _size(self, path: Path) -> int:
        if path not in self._sizes:
            self._sizes[path] = _mend(path)
        return self._sizes[path]

    def _append(self, path: Path, line: bytes) -> None:
        size = self._size(path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("ab") as file:
            if size == 0:
                path.chmod(0o600)
            file.write(line)
        self._sizes[path] = size + len(line)


def _begun_between(path: Path, since: datetime, until: datetime) -> Iterator[Exchange]:
    with path.open("rb") as file:
        for text in file:
            begun = BEGUN.match(text)
            if begun is None or not text.endswith(b"\n"):
                continue
            if since <= datetime.fromisoformat(begun[1].decode()) < until:
                yield from recording.load(text)


def _mend(path: Path) -> int:
    """Cuts an unfinished last line off; the size that is left."""
    try:
        with path.open("rb+") as file:
            at = file.seek(0, os.SEEK_END)
            while at > 0:
                before = max(0, at - BLOCK)
                file.seek(before)
                newline = file.read(at - before).rfind(b"\n")
                if newline >= 0:
                    return file.truncate(before + newline + 1)
                at = before
            return file.truncate(0)
    except FileNotFoundError:
        return 0
