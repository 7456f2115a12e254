"""Owns the names of things. Ids are plain strings in the journal, distinct types in the code."""

from typing import NewType

RunId = NewType("RunId", str)
"""An evolution, `ev-01`."""
BatchId = NewType("BatchId", str)
"""A sealed batch, `b-01`."""
CaseId = NewType("CaseId", str)
"""A case of a batch (a failure or a guard): `refund-twice-1`, `guard-3`."""
FailureId = NewType("FailureId", str)
"""A failed turn, `session#ordinal`."""
Fingerprint = NewType("Fingerprint", str)
"""The same defect seen by many users: `refund-twice`."""
CommitId = NewType("CommitId", str)
"""A full git object name, 40 hex digits."""
Digest = NewType("Digest", str)
"""`sha256:` and 64 hex digits: an image, an artifact, a statement."""
Key = NewType("Key", str)
"""An idempotency key, `run/iteration/stage/round` and longer for what a stage is made of."""
ApproverName = NewType("ApproverName", str)
