"""Owns the refusal of a second run over failures that an open run has already. Never changes anything.

Invariant: one sentence for it, whoever starts a run or seals a batch: what it is in, and what that run does since when.
"""

from datetime import datetime

from moss.domain.batch import GroupBy
from moss.domain.events import Stage
from moss.errors import Refused
from moss.ports import RunRow, Store


def refuse_second(store: Store, name: str, now: datetime) -> None:
    """`name`: a batch, a fingerprint or a session. Raises: Refused where an open run has it."""
    for run in store.runs(active=True, limit=1000):
        if (kind := _kind(store, run, name)) is not None:
            raise Refused(
                f"{kind} {name[:80]} is already in run {run.id}, which {_doing(run, now)}.",
                mend=f"see it: moss review {run.id} · stop it: moss stop {run.id}",
            )


def _kind(store: Store, run: RunRow, name: str) -> str | None:
    """As what the run has it, None when it does not."""
    if run.batch == name:
        return "batch"
    batch = store.batch(run.batch)
    if batch is None:
        return None
    if batch.label == name:
        return "session" if batch.group_by is GroupBy.CONVERSATION else "fingerprint"
    return "fingerprint" if name in batch.fingerprints else None


def _doing(run: RunRow, now: datetime) -> str:
    """`waits for consent since 2 h`."""
    minutes = max(0, int((now - run.updated).total_seconds() // 60))
    since = f"{minutes // 60} h" if minutes >= 60 else f"{minutes} min"
    return f"waits for consent since {since}" if run.stage == Stage.CONSENT else f"is at {run.stage} since {since}"
