"""Owns the shop's database: its schema, its version and the orders of a new shop. Never a payment rule.

Invariant: `user_version` is the schema that the file has; a file of a newer schema is refused.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCHEMA = 1
TABLES = """
CREATE TABLE orders (
    number TEXT PRIMARY KEY, customer TEXT NOT NULL, item TEXT NOT NULL,
    cents INTEGER NOT NULL, card TEXT NOT NULL, status TEXT NOT NULL
);
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY, number TEXT NOT NULL REFERENCES orders, kind TEXT NOT NULL,
    cents INTEGER NOT NULL, key TEXT UNIQUE
);
CREATE TABLE notes (
    id INTEGER PRIMARY KEY, number TEXT NOT NULL REFERENCES orders, text TEXT NOT NULL
);
"""
ORDER_COLUMNS = ("number", "customer", "item", "cents", "card", "status")
CUSTOMERS = ("Ada", "Bo", "Cyd", "Dee", "Eli", "Fay")
ITEMS = ("kettle", "desk lamp", "road map", "tea pot", "wool scarf", "radio", "garden chair")
STATUSES = ("paid", "packed", "shipped", "delivered")


class NewerState(Exception):
    """The state was written by a newer clerk."""


class Database:
    """One connection, one writer at a time. No write-ahead log: a copy of the file is a copy of the shop."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, timeout=5, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA synchronous=FULL")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            self._connection.close()
            raise NewerState(f"{path} has schema {version}, this clerk knows {SCHEMA}")
        if version == 0:
            self._create()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing, and nobody else in between."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _create(self) -> None:
        with self.transaction() as sql:
            for statement in filter(str.strip, TABLES.split(";")):
                sql.execute(statement)
            for place in range(24):
                _seed(sql, place)
            sql.execute(f"PRAGMA user_version={SCHEMA}")


def _seed(sql: sqlite3.Connection, place: int) -> None:
    """Order 1001 and on: every fourth card is of the North Bank (`nb-`), the other ones of the City Bank."""
    number, cents = str(1001 + place), 1250 + 700 * (place % 9)
    card = f"{'nb' if place % 4 == 0 else 'cb'}-{4400 + place}"
    row = (number, CUSTOMERS[place % 6], ITEMS[place % 7], cents, card, STATUSES[place % 4])
    sql.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", row)
    sql.execute("INSERT INTO ledger (number, kind, cents) VALUES (?, 'charge', ?)", (number, cents))
