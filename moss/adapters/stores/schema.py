"""Owns the tables as SQLAlchemy sees them, and which revision of them this MOSS knows.

The same text on SQLite and PostgreSQL: no type, default or index that only one of them has. The tables themselves
are made by `migrations/` alone; a test holds both to each other.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

REVISIONS = ("0001",)
"""All revisions in order; a store at any other one was written by a newer MOSS."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """UTC as microseconds since 1970: exact, sortable, and the same on every engine."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + timedelta(microseconds=value)


metadata = MetaData()

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("substrate", Text, nullable=False),
    Column("batch", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("outcome", Text),
    Column("started", Instant, nullable=False),
    Column("updated", Instant, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("head", Text, nullable=False),
    Index("runs_by_outcome", "outcome", "number"),
)

events = Table(
    "events",
    metadata,
    Column("run", Text, ForeignKey("runs.id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("kind", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("prev", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

claims = Table(
    "claims",
    metadata,
    Column("run", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("until", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("expires", Instant, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Index("artifacts_by_at", "at"),
)

artifact_runs = Table(
    "artifact_runs",
    metadata,
    Column("digest", Text, ForeignKey("artifacts.digest", ondelete="CASCADE"), primary_key=True),
    Column("run", Text, primary_key=True),
)

cursors = Table(
    "cursors",
    metadata,
    Column("source", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("mark", Text, nullable=False),
)

rejected = Table(
    "rejected",
    metadata,
    Column("source", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("place", Text, primary_key=True),
    Column("raw_sha", Text, primary_key=True),
    Column("because", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Index("rejected_by_number", "source", "number"),
)

failures = Table(
    "failures",
    metadata,
    Column("id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("state", Text, nullable=False),
    Column("batch", Text),
    Column("because", Text),
    Column("body", Text, nullable=False),
    Index("failures_by_at", "at", "id"),
    Index("failures_by_fingerprint", "fingerprint", "at", "id"),
    Index("failures_by_session", "session", "state", "at", "id"),
    Index("failures_by_state", "state", "at", "id"),
    Index("failures_by_pool", "state", "fingerprint", "at", "id"),
    Index("failures_by_batch", "batch"),
)

fingerprints = Table(
    "fingerprints",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("seen", BigInteger, nullable=False),
    Column("users", BigInteger, nullable=False),
    Column("last", Instant, nullable=False),
    Column("example", Text, nullable=False),
    Column("open", BigInteger, nullable=False),
    Column("batched", BigInteger, nullable=False),
    Column("closed", Text),
    Column("reopened", Boolean, nullable=False),
    Column("batch", Text),
)
Index("fingerprints_by_seen", fingerprints.c.seen.desc(), fingerprints.c.fingerprint)
Index("fingerprints_by_open", fingerprints.c.open.desc(), fingerprints.c.fingerprint)

fingerprint_users = Table(
    "fingerprint_users",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("user", Text, primary_key=True),
)

session_pool = Table(
    "session_pool",
    metadata,
    Column("session", Text, primary_key=True),
    Column("open", BigInteger, nullable=False),
)
Index("session_pool_by_open", session_pool.c.open.desc(), session_pool.c.session)

guards = Table(
    "guards",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("body", Text, nullable=False),
    Index("guards_by_at", "at", "id"),
)

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("label", Text, nullable=False),
    Column("group_by", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("cases", Integer, nullable=False),
    Column("guards", Integer, nullable=False),
    Column("sealed_at", Instant, nullable=False),
    Column("run", Text),
    Column("body", Text, nullable=False),
    Index("batches_by_state", "state", "sealed_at", "number"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("run", Text),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due", Instant, nullable=False),
    Column("taken", Text, nullable=False),
    Column("because", Text, nullable=False),
    Index("outbox_by_due", "state", "due", "id"),
)

facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
