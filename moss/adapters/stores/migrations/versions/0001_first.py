"""The first tables: journal, claims, artifacts, evidence, batches, outbox, facts."""

import sqlalchemy as sa
from alembic import op

from moss.adapters.stores.dialect import append_only

revision = "0001"
down_revision = None


def upgrade() -> None:
    _journal()
    _artifacts()
    _evidence()
    _pools()
    _batches_and_outbox()


def _journal() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("value", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("number", sa.Integer(), nullable=False, unique=True),
        sa.Column("substrate", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text()),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
    )
    op.create_index("runs_by_outcome", "runs", ["outcome", "number"])
    op.create_table(
        "events",
        sa.Column("run", sa.Text(), sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("prev", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
    )
    for statement in append_only(op.get_bind().dialect.name, "events"):
        op.execute(statement)
    op.create_table(
        "claims",
        sa.Column("run", sa.Text(), primary_key=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
    )


def _artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("digest", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.create_index("artifacts_by_at", "artifacts", ["at"])
    op.create_table(
        "artifact_runs",
        sa.Column("digest", sa.Text(), sa.ForeignKey("artifacts.digest", ondelete="CASCADE"), primary_key=True),
        sa.Column("run", sa.Text(), primary_key=True),
    )


def _evidence() -> None:
    op.create_table(
        "cursors",
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("session", sa.Text(), primary_key=True),
        sa.Column("mark", sa.Text(), nullable=False),
    )
    op.create_table(
        "rejected",
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("session", sa.Text(), primary_key=True),
        sa.Column("place", sa.Text(), primary_key=True),
        sa.Column("raw_sha", sa.Text(), primary_key=True),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
    )
    op.create_index("rejected_by_number", "rejected", ["source", "number"])
    op.create_table(
        "failures",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text()),
        sa.Column("because", sa.Text()),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("failures_by_at", "failures", ["at", "id"])
    op.create_index("failures_by_batch", "failures", ["batch"])
    op.create_index("failures_by_fingerprint", "failures", ["fingerprint", "at", "id"])
    op.create_index("failures_by_pool", "failures", ["state", "fingerprint", "at", "id"])
    op.create_index("failures_by_session", "failures", ["session", "state", "at", "id"])
    op.create_index("failures_by_state", "failures", ["state", "at", "id"])


def _pools() -> None:
    op.create_table(
        "fingerprints",
        sa.Column("fingerprint", sa.Text(), primary_key=True),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("users", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("example", sa.Text(), nullable=False),
        sa.Column("open", sa.BigInteger(), nullable=False),
        sa.Column("batched", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.Text()),
        sa.Column("reopened", sa.Boolean(), nullable=False),
        sa.Column("batch", sa.Text()),
    )
    op.create_index("fingerprints_by_open", "fingerprints", [sa.text("open DESC"), "fingerprint"])
    op.create_index("fingerprints_by_seen", "fingerprints", [sa.text("seen DESC"), "fingerprint"])
    op.create_table(
        "fingerprint_users",
        sa.Column("fingerprint", sa.Text(), primary_key=True),
        sa.Column("user", sa.Text(), primary_key=True),
    )
    op.create_table(
        "session_pool",
        sa.Column("session", sa.Text(), primary_key=True),
        sa.Column("open", sa.BigInteger(), nullable=False),
    )
    op.create_index("session_pool_by_open", "session_pool", [sa.text("open DESC"), "session"])
    op.create_table(
        "guards",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("guards_by_at", "guards", ["at", "id"])


def _batches_and_outbox() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("number", sa.Integer(), nullable=False, unique=True),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("group_by", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("cases", sa.Integer(), nullable=False),
        sa.Column("guards", sa.Integer(), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.Column("run", sa.Text()),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("batches_by_state", "batches", ["state", "sealed_at", "number"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("run", sa.Text()),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("taken", sa.Text(), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
    )
    op.create_index("outbox_by_due", "outbox", ["state", "due", "id"])
