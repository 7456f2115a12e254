"""Owns the names of the store's facts: small values beside the journals. Never who may set one, nor what follows.

A name that ends with a colon is a prefix. Invariant: a fact is named in no other place.
"""

from moss.domain.ids import RunId

PAUSED = "paused"
"""set while the brake is on: by whom"""
REVOKED = "revoked:"
"""and a key's fingerprint: it no longer counts, from the moment it is set, whatever settings a controller began with"""
TOKEN = "token:"  # noqa: S105
"""and a name: the hash and role of a token of the API"""
OWN_SESSION = "session:"
"""and a session of the live agent in which MOSS itself spoke (a canary): no evidence"""


def announced(run: RunId) -> str:
    """The last entry of a run's journal whose notices are in the outbox."""
    return f"announced:{run}"
