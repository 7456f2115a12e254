"""Owns the consent: the statement that is signed, and every reason why a signature is not good. Never a key's secret.

A consent is a signature (Ed25519) over `canonical(statement)`; the check of the signature itself comes in as a
function. It is checked on arrival and again right before the swap. Invariant: what `refusal` passes was signed by a
trusted key over exactly what would be swapped, and is good at that moment.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime

from moss.domain.frozen import Frozen, canonical, digest
from moss.domain.ids import ApproverName, Digest, RunId

KEY_BYTES = 32

Verify = Callable[[bytes, bytes, bytes], bool]
"""(raw public key, message, signature) -> whether the key made the signature. Never raises."""


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
    expires: AwareDatetime

    @property
    def id(self) -> Digest:
        """The statement's own hash."""
        return Digest(digest(self))


class Consent(Frozen):
    """A signed statement. `key` is the fingerprint of the approver's public key; `signature` base64 in JSON."""

    statement: Statement
    approver: ApproverName
    key: str
    signature: bytes

    @property
    def id(self) -> Digest:
        """What is used once: this approver's yes to this statement."""
        return Digest(digest({"statement": self.statement.id, "approver": self.approver}))


@dataclass(frozen=True, slots=True)
class Trusted:
    """One approver's key as configured: base64 of 32 bytes (`config.Approver` refuses others).

    A name may have several: the old ones revoked.
    """

    name: ApproverName
    public_key: str
    revoked: bool = False


class Why(StrEnum):
    UNKNOWN = "unknown"
    KEY = "key"
    REVOKED = "revoked"
    FORGED = "forged"
    TARGET = "target"
    TOO_LONG = "too_long"
    EXPIRED = "expired"
    REPLAYED = "replayed"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a consent is not good, as one sentence for a person."""

    why: Why
    sentence: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What a consent must meet: `expected` is the run's own statement, `needed` the k of k-of-n."""

    expected: Statement
    approvers: tuple[Trusted, ...]
    needed: int
    verify: Verify


def fingerprint(public_key: str) -> str:
    """`SHA256:` and the base64 hash of a public key, as shown to people.

    Raises: ValueError when it is not base64 of 32 bytes.
    """
    return "SHA256:" + base64.b64encode(hashlib.sha256(raw_key(public_key)).digest()).decode().rstrip("=")


def raw_key(public_key: str) -> bytes:
    """The 32 bytes of a public key. Raises: ValueError when it is not base64 of 32 bytes."""
    try:
        raw = base64.b64decode(public_key, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise ValueError("not an Ed25519 public key: base64 of 32 bytes")
    return raw


def refusal(consent: Consent, terms: Terms, now: datetime, used: Collection[Digest] = ()) -> Refusal | None:
    """Why `consent` is not good at `now`, None when it is. `used`: ids of consents that were taken already.

    Who signed comes first, then whether they did, then what: a forged statement's words are never repeated.
    """
    key = _trusted(consent, terms)
    if isinstance(key, Refusal):
        return key
    statement, expected = consent.statement, terms.expected
    if not terms.verify(raw_key(key.public_key), canonical(statement), consent.signature):
        return Refusal(Why.FORGED, f"the signature is not {consent.approver}'s over this statement")
    for name in Statement.model_fields:
        if name != "expires" and getattr(statement, name) != getattr(expected, name):
            words = name.replace("_", " ")
            return Refusal(Why.TARGET, f"the consent is for another {words} than {expected.run} offers now")
    if statement.expires > expected.expires:
        return Refusal(Why.TOO_LONG, f"the consent would be valid longer than until {_at(expected.expires)}")
    if now >= statement.expires:
        return Refusal(Why.EXPIRED, f"the consent of {consent.approver} expired at {_at(statement.expires)}")
    if consent.id in used:
        return Refusal(Why.REPLAYED, f"{consent.approver}'s consent to this statement was used already")
    return None


def still_approved(consents: Iterable[Consent], terms: Terms, now: datetime) -> Refusal | None:
    """None while enough consents are good at `now`; else the first reason that takes one away.

    Approvers are counted by name and by key: one person with two names, or two keys, says yes once.
    """
    good, lost = [], None
    for consent in consents:
        if (no := refusal(consent, terms, now)) is None:
            good.append(consent)
        else:
            lost = lost or no
    have = min(len({one.approver for one in good}), len({one.key for one in good}))
    if have >= terms.needed:
        return None
    return lost or Refusal(Why.UNKNOWN, f"{have} of {terms.needed} approvers have signed")


def _trusted(consent: Consent, terms: Terms) -> Trusted | Refusal:
    """The configured key that made the consent, or why there is none."""
    name, substrate = consent.approver, terms.expected.substrate
    mine = [one for one in terms.approvers if one.name == name]
    if not mine:
        known = ", ".join(dict.fromkeys(one.name for one in terms.approvers)) or "none"
        return Refusal(Why.UNKNOWN, f"{_shown(name)} is not an approver of `{substrate}` (approvers: {known})")
    key = next((one for one in mine if fingerprint(one.public_key) == consent.key), None)
    if key is None:
        return Refusal(Why.KEY, f"the key {_shown(consent.key)} is not one of {name}'s")
    # A key that is listed twice is revoked when any of its entries says so, under whatever name.
    if any(one.revoked for one in terms.approvers if raw_key(one.public_key) == raw_key(key.public_key)):
        return Refusal(Why.REVOKED, f"the key {consent.key} of {name} is revoked")
    return key


def _shown(text: str) -> str:
    """A word from outside, bounded and without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:80])


def _at(time: datetime) -> str:
    return time.isoformat(sep=" ", timespec="seconds")
