"""Owns what SQLite and PostgreSQL do differently: how a connection is set up, how a writer begins, how to upsert.

Nothing else in the package asks which engine it speaks to.
Invariant: a write transaction is alone. On SQLite `BEGIN IMMEDIATE` takes the file's write lock before the first
read, on PostgreSQL an advisory lock does the same, so what a writer read is still true when it writes.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, Executable, Table, event, text

WRITES = "moss_writes"
"""Execution option of a connection whose transactions write."""

_BUSY_MS = 15_000
_CACHE_KIB = 4_096
_ADVISORY = 0x6D6F7373


def prepare(engine: Engine) -> None:
    """Registers what every connection of `engine` needs."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
    else:
        event.listen(engine, "begin", _postgres_begin)


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts the rows whose primary key is not there yet."""
    if rows:
        connection.execute(_missing(connection.dialect.name, table), rows)


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Inserts rows; where the primary key is there, sets `columns` to the new values."""
    if rows:
        connection.execute(_upserting(connection.dialect.name, table, tuple(columns)), rows)


# Built once for each table: building a statement costs more than executing it.


@cache
def _missing(dialect: str, table: Table) -> Executable:
    statement: Executable = _insert(dialect, table).on_conflict_do_nothing()
    return statement


@cache
def _upserting(dialect: str, table: Table, columns: tuple[str, ...]) -> Executable:
    statement = _insert(dialect, table)
    new = {name: statement.excluded[name] for name in columns}
    updating: Executable = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=new)
    return updating


def append_only(dialect: str, table: str) -> Sequence[Executable]:
    """Statements after which rows of `table` can neither be changed nor deleted."""
    refuse = f"{table} is append-only"
    if dialect == "sqlite":
        return [
            text(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{refuse}'); END"
            )
            for verb in ("UPDATE", "DELETE")
        ]
    return [
        text(
            f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{refuse}'; END $$"
        ),
        text(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse()"
        ),
    ]


def _insert(dialect: str, table: Table) -> Any:
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert(table)
    from sqlalchemy.dialects.postgresql import insert as postgres_insert

    return postgres_insert(table)


def _sqlite_connect(connection: sqlite3.Connection, _record: object) -> None:
    # Python's own transaction control begins too late: BEGIN is sent by `_sqlite_begin` alone.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {_BUSY_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"cache_size = -{_CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _sqlite_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgres_begin(connection: Connection) -> None:
    if connection.get_execution_options().get(WRITES, False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY})")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
