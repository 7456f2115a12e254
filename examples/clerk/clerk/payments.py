"""Owns the ledger and the payment provider that books in it. Never an order's status.

Invariant: two bookings never have the same idempotency key; without a key the provider books what it is told,
as often as it is told.
"""

from dataclasses import dataclass
from sqlite3 import Connection

from clerk.db import Database

SLOW_BANK = "nb-"


class PaymentTimeout(Exception):
    """The provider did not answer in time. Whether it booked is not known."""


@dataclass(frozen=True)
class Booking:
    number: str
    cents: int


class Provider:
    """The payment provider. The North Bank is slow: it makes the first booking of an order, but its answer is
    lost."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def refund(self, number: str, cents: int, card: str, key: str | None = None) -> Booking:
        """Pays `cents` back. With a `key` that was booked before, gives that booking.

        Raises: PaymentTimeout when the bank's answer is lost.
        """
        with self._database.transaction() as sql:
            if key is not None and sql.execute("SELECT 1 FROM ledger WHERE key = ?", (key,)).fetchone():
                return Booking(number, cents)
            first = _refunds(sql, number) == 0
            sql.execute(
                "INSERT INTO ledger (number, kind, cents, key) VALUES (?, 'refund', ?, ?)",
                (number, cents, key),
            )
        if first and card.startswith(SLOW_BANK):
            raise PaymentTimeout(f"no answer from the bank of card {card}")
        return Booking(number, cents)

    def audit(self, number: str) -> str | None:
        """What the ledger says is wrong with an order, in one sentence; None when all is well."""
        with self._database.transaction() as sql:
            times = _refunds(sql, number)
        return f"ledger audit: order {number} refunded {times} times" if times > 1 else None


def _refunds(sql: Connection, number: str) -> int:
    return sql.execute("SELECT count(*) FROM ledger WHERE number = ? AND kind = 'refund'", (number,)).fetchone()[0]
