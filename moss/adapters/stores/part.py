"""Owns what the parts of the SQL store share: the database, the clock and the counters. Never a table's meaning."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, Row, select, update

from moss.adapters.stores.database import Database
from moss.adapters.stores.schema import counters
from moss.ports import Clock

T = TypeVar("T")
AnyRow: TypeAlias = "Row[*tuple[Any, ...]]"
"""A row of whatever columns were asked for."""

_AT_ONCE = 500


class Part:
    """One part of the store; `moss.adapters.stores.sql.SqlStore` is all of them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._db = database
        self._clock = clock


def next_number(connection: Connection, name: str, by: int = 1) -> int:
    """The counter `name` after adding `by`; 0 before its first use."""
    value = number(connection, name)
    if value is None:
        connection.execute(counters.insert().values(name=name, value=by))
        return by
    connection.execute(update(counters).where(counters.c.name == name).values(value=value + by))
    return value + by


def number(connection: Connection, name: str) -> int | None:
    """The counter `name`, None before its first use."""
    found = connection.execute(select(counters.c.value).where(counters.c.name == name)).scalar_one_or_none()
    return None if found is None else int(found)


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """`items` in pieces that fit into one statement on every engine."""
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


def plain(text: str) -> str:
    """`text` without what no database takes: bytes of a file name that were no UTF-8 are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
