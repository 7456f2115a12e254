"""Owns the consent statement and who may do what. Never a private key.

A consent is a signature (Ed25519) over `canonical(statement)`. The statement names exact digests and expires;
it is single use by its own hash. `check_statement` is called on arrival and again right before the swap.
"""

from datetime import datetime

from moss.domain.frozen import Frozen, digest
from moss.domain.ids import ApproverName, Digest, RunId


class Statement(Frozen):
    """What an approver says yes to. `base` and `candidate` are image digests; `*_registry` where pushed."""

    version: int = 1
    substrate: str
    run: RunId
    base: Digest
    candidate: Digest
    base_registry: str | None = None
    candidate_registry: str | None = None
    diff: Digest
    evidence: Digest
    policy: Digest
    expires: datetime

    @property
    def id(self) -> Digest:
        """The statement's own hash: used once."""
        return Digest(digest(self))


class Consent(Frozen):
    """A signed statement. `signature` is over `canonical(statement)`, base64 in JSON."""

    statement: Statement
    approver: ApproverName
    key: str
    signature: bytes
