"""Owns sealed batches: what one evolution works on. Never who collects them (see `engine.curator`)."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from moss.domain.case import Case
from moss.domain.frozen import Frozen, digest
from moss.domain.ids import BatchId, Digest, Fingerprint


class GroupBy(StrEnum):
    """`conversation` as in the paper (seals at 8 failures); `fingerprint`: one defect seen by many users."""

    CONVERSATION = "conversation"
    FINGERPRINT = "fingerprint"


class BatchState(StrEnum):
    SEALED = "sealed"
    RUNNING = "running"
    DONE = "done"
    DISMISSED = "dismissed"


class Batch(Frozen):
    """A sealed set of failure cases and the guards beside it."""

    id: BatchId
    substrate: str
    group_by: GroupBy
    label: str = Field(description="the fingerprint or the session it was grouped by")
    sealed_at: datetime
    cases: tuple[Case, ...] = Field(min_length=1)
    guards: tuple[Case, ...] = ()

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        return tuple(dict.fromkeys(case.fingerprint for case in self.cases if case.fingerprint))

    @property
    def evidence(self) -> Digest:
        """The hash a consent names: of all cases and guards."""
        return Digest(digest(self))
