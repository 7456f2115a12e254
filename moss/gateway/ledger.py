"""Owns what every grant used: reserved before a call, settled after it. SQLite of the gateway's own.

Invariant: for each limit of a grant, spent + held <= limit, at every moment and after a kill. A hold that a killed
gateway left counts as spent in full: the call went out, nobody knows what it cost.

Money and tokens belong to a key over all its attempts; requests, faults and divergence to one attempt.
One connection, used by one thread at a time: each method is one transaction.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from moss.domain.ids import Key, RunId
from moss.errors import StoreError, StoreFull, TokenRefused
from moss.gateway.prices import NANO, Price
from moss.gateway.tokens import Opened
from moss.gateway.wire import Tokens
from moss.ports import Grant, Usage

LIVE_KEY = Key("live")
"""The live agent's grant: one account, one attempt, for ever."""

LEAST_SAID = 16
"""Tokens of an answer for which a call is still worth its money when a limit leaves less than it wants."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    key TEXT PRIMARY KEY, run TEXT NOT NULL, stage TEXT NOT NULL, attempt INTEGER NOT NULL, closed INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS attempts (
    key TEXT NOT NULL, attempt INTEGER NOT NULL, expires INTEGER, requests INTEGER NOT NULL DEFAULT 0,
    faults INTEGER NOT NULL DEFAULT 0, estimated INTEGER NOT NULL DEFAULT 0, live INTEGER NOT NULL DEFAULT 0,
    exhausted INTEGER NOT NULL DEFAULT 0, diverged_at INTEGER, PRIMARY KEY (key, attempt)
) STRICT;
CREATE TABLE IF NOT EXISTS ordinals (
    key TEXT NOT NULL, attempt INTEGER NOT NULL, turn TEXT NOT NULL, last INTEGER NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (key, attempt, turn)
) STRICT;
CREATE TABLE IF NOT EXISTS spent (
    key TEXT NOT NULL, upstream TEXT NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL, sent INTEGER NOT NULL,
    said INTEGER NOT NULL, cached INTEGER NOT NULL, nano INTEGER NOT NULL, PRIMARY KEY (key, upstream, model)
) STRICT;
CREATE TABLE IF NOT EXISTS holds (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, attempt INTEGER NOT NULL, upstream TEXT NOT NULL, model TEXT NOT NULL,
    sent INTEGER NOT NULL, said INTEGER NOT NULL, nano INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS holds_by_key ON holds (key);
"""


@dataclass(frozen=True, slots=True)
class Want:
    """What a call may take at most: tokens sent and said, at `price` (None: nobody is paid)."""

    upstream: str
    model: str
    sent: int
    said: int
    price: Price | None = None

    @property
    def nano(self) -> int:
        return self.price.most(self.sent, self.said) if self.price else 0


@dataclass(frozen=True, slots=True)
class Hold:
    """A reservation. `said`: tokens that the answer may have."""

    id: int
    key: Key
    attempt: int
    want: Want


@dataclass(frozen=True, slots=True)
class Full:
    """There is no room. `busy`: calls in flight hold some of it, so it may come back."""

    sentence: str
    busy: bool


@dataclass(frozen=True, slots=True)
class Spending:
    """One line of `moss gateway usage`."""

    run: RunId
    stage: str
    upstream: str
    model: str
    requests: int
    tokens_in: int
    tokens_out: int
    cached: int
    money_usd: float


class Ledger:
    """The accounts of all grants."""

    def __init__(self, path: Path | str) -> None:
        self._unwritten: Counter[Key] = Counter()
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            # NORMAL in WAL mode survives a kill of this process; a power cut may lose the last calls' figures, no more
            self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=250;")
            self._db.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise _failed(error) from error
        self._take_over()

    def close(self) -> None:
        self._db.close()

    # ---------------------------------------------------------------- grants

    def open(self, grant: Grant, now: datetime) -> Opened:
        """Registers a grant: its running attempt while that was not used, else a new one."""
        with self._write():
            row = self._do("SELECT attempt, closed FROM accounts WHERE key = ?", (grant.key,)).fetchone()
            if row is None:
                self._do("INSERT INTO accounts VALUES (?, ?, ?, 0, 0)", (grant.key, grant.run, grant.stage))
                row = (0, 0)
            attempt, closed = row
            current = self._attempt(grant.key, attempt)
            if current is not None and attempt > closed and self._goes_on(grant.key, current, now):
                return Opened(attempt=attempt, expires=current[1])
            expires = None if grant.seconds is None else int(now.timestamp() + grant.seconds) + 1
            self._do("UPDATE accounts SET attempt = ? WHERE key = ?", (attempt + 1, grant.key))
            self._do("INSERT INTO attempts (key, attempt, expires) VALUES (?, ?, ?)", (grant.key, attempt + 1, expires))
            return Opened(attempt=attempt + 1, expires=expires)

    def admit(self, key: Key, attempt: int) -> None:
        """Raises: TokenRefused (revoked, or never registered here)."""
        row = self._do("SELECT attempt, closed FROM accounts WHERE key = ?", (key,)).fetchone()
        if row is None or attempt > row[0]:
            raise TokenRefused("the token's grant was never opened at this gateway")
        if attempt <= row[1]:
            raise TokenRefused("the token was revoked")

    def revoke(self, key: Key) -> None:
        """All attempts so far. Unknown is silent."""
        self._do("UPDATE accounts SET closed = attempt WHERE key = ?", (key,))

    def attempts(self, key: Key) -> Sequence[int]:
        """Newest first."""
        rows = self._do("SELECT attempt FROM attempts WHERE key = ? ORDER BY attempt DESC", (key,))
        return [row[0] for row in rows]

    # ---------------------------------------------------------------- calls

    def arrive(self, key: Key, attempt: int, turn: str, now: datetime) -> int:
        """The ordinal of a request that begins: in its turn, or in its attempt where `turn` is empty."""
        with self._write():
            self._do("UPDATE attempts SET requests = requests + 1 WHERE key = ? AND attempt = ?", (key, attempt))
            row = self._do(
                "INSERT INTO ordinals VALUES (?, ?, ?, 1, ?) ON CONFLICT (key, attempt, turn) "
                "DO UPDATE SET last = last + 1, at = excluded.at RETURNING last",
                (key, attempt, turn, now.isoformat()),
            ).fetchone()
        return int(row[0])

    def reserve(self, grant: Grant, attempt: int, want: Want) -> Hold | Full:
        """Holds what a call may take; where the limits leave less room for the answer than wanted, that room."""
        with self._write():
            tokens, nano = self._taken("spent", grant.key)
            held_tokens, held_nano = self._taken("holds", grant.key)
            room = _Room(grant, tokens + held_tokens, nano + held_nano, busy=held_tokens > 0)
            fitted = room.fit(want)
            if isinstance(fitted, Full):
                return fitted
            row = self._do(
                "INSERT INTO holds (key, attempt, upstream, model, sent, said, nano) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "RETURNING id",
                (grant.key, attempt, want.upstream, want.model, want.sent, fitted.said, fitted.nano),
            ).fetchone()
        return Hold(int(row[0]), grant.key, attempt, fitted)

    def settle(self, hold: Hold, tokens: Tokens, nano: int) -> None:
        """What the call took, in place of what was held."""
        with self._write():
            self._do("DELETE FROM holds WHERE id = ?", (hold.id,))
            self._spend(hold.key, hold.want.upstream, hold.want.model, tokens, nano)
            if tokens.estimated:
                self.mark(hold.key, hold.attempt, estimated=True)

    def mark(
        self,
        key: Key,
        attempt: int,
        *,
        fault: bool = False,
        live: bool = False,
        exhausted: bool = False,
        estimated: bool = False,
    ) -> None:
        """Notes on an attempt what its usage shows."""
        self._do(
            "UPDATE attempts SET faults = faults + ?, estimated = estimated + ?, live = max(live, ?), "
            "exhausted = max(exhausted, ?) WHERE key = ? AND attempt = ?",
            (fault, estimated, live, exhausted, key, attempt),
        )

    def blame(self, key: Key) -> None:
        """Notes a fault that could not be written; it is told until the process ends."""
        self._unwritten[key] += 1

    def diverged_at(self, key: Key, attempt: int) -> int | None:
        row = self._do("SELECT diverged_at FROM attempts WHERE key = ? AND attempt = ?", (key, attempt)).fetchone()
        return row[0] if row else None

    def diverge(self, key: Key, attempt: int, ordinal: int) -> None:
        """Notes the first request that differed from the recording; the lowest stays."""
        self._do(
            "UPDATE attempts SET diverged_at = min(coalesce(diverged_at, ?), ?) WHERE key = ? AND attempt = ?",
            (ordinal, ordinal, key, attempt),
        )

    # ---------------------------------------------------------------- figures

    def usage(self, key: Key) -> Usage:
        """Of the newest attempt that was used; tokens and money of all of them."""
        row = self._do(
            "SELECT requests, faults, estimated, live, exhausted, diverged_at FROM attempts WHERE key = ? "
            "ORDER BY requests > 0 DESC, attempt DESC LIMIT 1",
            (key,),
        ).fetchone()
        if row is None:
            return Usage()
        sent, said, nano = self._do(
            "SELECT coalesce(sum(sent), 0), coalesce(sum(said), 0), coalesce(sum(nano), 0) FROM spent WHERE key = ?",
            (key,),
        ).fetchone()
        requests, faults, estimated, live, exhausted, diverged_at = row
        return Usage(
            requests=requests,
            tokens_in=sent,
            tokens_out=said,
            money_usd=nano / NANO,
            faults=faults + self._unwritten[key],
            diverged_at=diverged_at,
            live=bool(live),
            exhausted=bool(exhausted),
            estimated=estimated,
        )

    def spending(self, run: RunId | None = None) -> Sequence[Spending]:
        """By run, stage, upstream and model."""
        rows = self._do(
            "SELECT run, stage, upstream, model, sum(requests), sum(sent), sum(said), sum(cached), sum(nano) "
            "FROM spent JOIN accounts USING (key) WHERE ? IS NULL OR run = ? "
            "GROUP BY run, stage, upstream, model ORDER BY run, stage, upstream, model",
            (run, run),
        )
        return [
            Spending(RunId(of), stage, upstream, model, requests, sent, said, cached, nano / NANO)
            for of, stage, upstream, model, requests, sent, said, cached, nano in rows
        ]

    def prune_turns(self, before: datetime) -> None:
        """Forgets the counters of the live agent's turns that ended before `before`."""
        self._do("DELETE FROM ordinals WHERE key = ? AND turn != '' AND at < ?", (LIVE_KEY, before.isoformat()))

    # ---------------------------------------------------------------- inside

    def _do(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Raises: StoreError."""
        try:
            return self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise _failed(error) from error

    @contextmanager
    def _write(self) -> Iterator[None]:
        """All of the block or nothing of it. Raises: StoreError."""
        self._do("BEGIN IMMEDIATE")
        try:
            yield
            self._do("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def _attempt(self, key: Key, attempt: int) -> tuple[int, int | None] | None:
        row: tuple[int, int | None] | None = self._do(
            "SELECT requests, expires FROM attempts WHERE key = ? AND attempt = ?", (key, attempt)
        ).fetchone()
        return row

    @staticmethod
    def _goes_on(key: Key, current: tuple[int, int | None], now: datetime) -> bool:
        requests, expires = current
        return (requests == 0 or key == LIVE_KEY) and (expires is None or expires > now.timestamp())

    def _taken(self, table: Literal["spent", "holds"], key: Key) -> tuple[int, int]:
        row = self._do(
            f"SELECT coalesce(sum(sent + said), 0), coalesce(sum(nano), 0) FROM {table} WHERE key = ?",  # noqa: S608
            (key,),
        ).fetchone()
        return int(row[0]), int(row[1])

    def _spend(self, key: Key, upstream: str, model: str, tokens: Tokens, nano: int) -> None:
        self._do(
            "INSERT INTO spent VALUES (?, ?, ?, 1, ?, ?, ?, ?) ON CONFLICT (key, upstream, model) DO UPDATE SET "
            "requests = requests + 1, sent = sent + excluded.sent, said = said + excluded.said, "
            "cached = cached + excluded.cached, nano = nano + excluded.nano",
            (key, upstream, model, tokens.sent, tokens.said, tokens.cached, nano),
        )

    def _take_over(self) -> None:
        with self._write():
            left = self._do("SELECT key, attempt, upstream, model, sent, said, nano FROM holds").fetchall()
            for key, attempt, upstream, model, sent, said, nano in left:
                self._spend(key, upstream, model, Tokens(sent, said, estimated=True), nano)
                self.mark(key, attempt, fault=True, estimated=True)
            self._do("DELETE FROM holds")


@dataclass(frozen=True, slots=True)
class _Room:
    """What the limits of a grant leave. `busy`: a part of what is taken is only held."""

    grant: Grant
    tokens: int
    nano: int
    busy: bool

    def fit(self, want: Want) -> Want | Full:
        said = min(want.said, self._by_tokens(want), self._by_money(want))
        if said >= want.said or (said >= LEAST_SAID and not self.busy):
            return replace(want, said=said)
        return Full(self._left(), self.busy)

    def _by_tokens(self, want: Want) -> int:
        """Tokens that the answer may have; 0 or less when there is no room for the request itself."""
        limit = self.grant.max_tokens
        return want.said if limit is None else limit - self.tokens - want.sent

    def _by_money(self, want: Want) -> int:
        if self.grant.max_money_usd is None or want.price is None:
            return want.said
        left = int(self.grant.max_money_usd * NANO) - self.nano - want.price.most(want.sent, 0)
        each = want.price.output * 1000
        return want.said if left >= want.nano else int(left // each) if each and left > 0 else 0

    def _left(self) -> str:
        lines = []
        if self.grant.max_tokens is not None:
            lines.append(f"{max(0, self.grant.max_tokens - self.tokens)} of {self.grant.max_tokens} tokens")
        if self.grant.max_money_usd is not None:
            left = max(0.0, self.grant.max_money_usd - self.nano / NANO)
            lines.append(f"{left:.6f} of {self.grant.max_money_usd:g} USD")
        return " and ".join(lines) + " are left"


def _failed(error: sqlite3.Error) -> StoreError:
    full = "full" in str(error)
    return (StoreFull if full else StoreError)(f"the gateway's ledger cannot be used: {error}")
