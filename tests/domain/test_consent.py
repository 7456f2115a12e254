"""Promise 2: only an approver's signature over exactly these digests, in time and once, is a yes."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from moss.domain.consent import (
    Consent,
    Refusal,
    Statement,
    Terms,
    Trusted,
    Why,
    fingerprint,
    raw_key,
    refusal,
    still_approved,
)
from moss.domain.frozen import canonical
from moss.domain.ids import ApproverName, Digest, RunId

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
ALICE, BOB, OLD = (Ed25519PrivateKey.from_private_bytes(bytes([k]) * 32) for k in (1, 2, 3))


def public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def sha(letter: str) -> Digest:
    return Digest("sha256:" + letter * 64)


EXPECTED = Statement(
    substrate="clerk",
    run=RunId("ev-07"),
    base=sha("b"),
    candidate=sha("c"),
    diff=sha("d"),
    evidence=sha("e"),
    policy=sha("f"),
    expires=NOW + timedelta(hours=24),
)
TRUSTED = (
    Trusted(ApproverName("alice"), public(ALICE)),
    Trusted(ApproverName("bob"), public(BOB)),
    Trusted(ApproverName("alice"), public(OLD), revoked=True),
)
TERMS = Terms(EXPECTED, TRUSTED, needed=1, verify=verify)


def sign(key: Ed25519PrivateKey = ALICE, name: str = "alice", **changes: Any) -> Consent:
    statement = EXPECTED.model_copy(update=changes)
    signature = key.sign(canonical(statement))
    return Consent(statement=statement, approver=ApproverName(name), key=fingerprint(public(key)), signature=signature)


def refused(consent: Consent, **more: Any) -> Refusal:
    no = refusal(consent, TERMS, more.pop("now", NOW), **more)
    assert no is not None
    assert "\n" not in no.sentence
    assert no.sentence
    return no


def test_a_signed_statement_of_an_approver_is_good() -> None:
    assert refusal(sign(), TERMS, NOW) is None
    assert refusal(sign(BOB, "bob"), TERMS, NOW) is None


def test_an_approver_may_sign_for_a_shorter_time() -> None:
    assert refusal(sign(expires=NOW + timedelta(minutes=5)), TERMS, NOW) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("substrate", "hermes"),
        ("run", RunId("ev-08")),
        ("base", sha("0")),
        ("candidate", sha("0")),
        ("base_registry", "r@sha256:1"),
        ("candidate_registry", "r@sha256:1"),
        ("diff", sha("0")),
        ("evidence", sha("0")),
        ("policy", sha("0")),
    ],
)
def test_a_consent_for_another_target_is_refused(field: str, value: object) -> None:
    no = refused(sign(**{field: value}))
    assert no.why is Why.TARGET
    assert f"another {field.replace('_', ' ')} " in no.sentence


def test_every_field_of_a_statement_is_compared() -> None:
    """A field that is added later must be in the test above."""
    compared = {"version", "substrate", "run", "base", "candidate", "diff", "evidence", "policy"}
    assert set(Statement.model_fields) == compared | {"base_registry", "candidate_registry", "expires"}


def test_a_forged_signature_is_refused() -> None:
    forged = sign(BOB).model_copy(update={"key": fingerprint(public(ALICE))})
    assert refused(forged).why is Why.FORGED


@given(st.integers(0, 511))
def test_one_flipped_bit_of_the_signature_is_refused(bit: int) -> None:
    good = sign()
    flipped = bytearray(good.signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert refused(good.model_copy(update={"signature": bytes(flipped)})).why is Why.FORGED


@given(st.integers(min_value=0), st.integers(0, 7))
def test_one_flipped_bit_of_the_consent_is_refused(place: int, bit: int) -> None:
    raw = bytearray(canonical(sign()))
    raw[place % len(raw)] ^= 1 << bit
    try:
        read = Consent.model_validate_json(bytes(raw))
    except ValidationError:
        return
    # base64 has spare bits at its end: such a text reads as the very same consent
    assert read == sign() or refusal(read, TERMS, NOW) is not None


def test_an_unsigned_or_cut_signature_is_refused() -> None:
    for signature in (b"", b"x", sign().signature[:-1], sign().signature + b"x"):
        assert refused(sign().model_copy(update={"signature": signature})).why is Why.FORGED


def test_the_approver_cannot_be_swapped_for_another() -> None:
    assert refused(sign(BOB, "alice")).why is Why.KEY
    assert refused(sign().model_copy(update={"approver": "bob"})).why is Why.KEY


def test_an_unknown_approver_is_told_who_the_approvers_are() -> None:
    no = refused(sign(name="mallory"))
    assert (no.why, no.sentence) == (Why.UNKNOWN, "mallory is not an approver of `clerk` (approvers: alice, bob)")
    empty = Terms(EXPECTED, (), 1, verify)
    assert "approvers: none" in (refusal(sign(), empty, NOW) or no).sentence


def test_a_name_from_outside_is_bounded_and_harmless() -> None:
    no = refused(sign(name="\x1b[2J" + "x" * 1000))
    assert "\x1b" not in no.sentence
    assert len(no.sentence) < 200


def test_a_revoked_key_is_refused_under_any_name() -> None:
    assert refused(sign(OLD)).why is Why.REVOKED
    again = Terms(EXPECTED, (*TRUSTED, Trusted(ApproverName("carol"), public(OLD))), 1, verify)
    no = refusal(sign(OLD, "carol"), again, NOW)
    assert no is not None
    assert no.why is Why.REVOKED


def test_an_expired_consent_is_refused_to_the_second() -> None:
    short = sign(expires=NOW)
    assert refused(short).why is Why.EXPIRED
    assert refusal(short, TERMS, NOW - timedelta(microseconds=1)) is None


def test_a_consent_that_would_be_valid_too_long_is_refused() -> None:
    assert refused(sign(expires=EXPECTED.expires + timedelta(seconds=1))).why is Why.TOO_LONG


def test_a_consent_without_a_time_zone_is_no_consent() -> None:
    text = canonical(sign()).decode().replace("14:00:00Z", "14:00:00")
    with pytest.raises(ValidationError, match="timezone"):
        Consent.model_validate_json(text)


def test_a_consent_is_used_once() -> None:
    used = {sign().id}
    assert refused(sign(), used=used).why is Why.REPLAYED
    assert refusal(sign(BOB, "bob"), TERMS, NOW, used=used) is None


# ------------------------------------------------------------------ k of n

TWO = Terms(EXPECTED, TRUSTED, needed=2, verify=verify)


def test_k_of_n_takes_k_different_approvers() -> None:
    assert still_approved([sign(), sign(BOB, "bob")], TWO, NOW) is None
    no = still_approved([sign(), sign(expires=NOW + timedelta(hours=1))], TWO, NOW)
    assert no is not None
    assert no.sentence == "1 of 2 approvers have signed"


def test_one_key_under_two_names_says_yes_once() -> None:
    twice = Terms(EXPECTED, (*TRUSTED, Trusted(ApproverName("alter"), public(ALICE))), 2, verify)
    assert still_approved([sign(), sign(name="alter")], twice, NOW) is not None


def test_right_before_the_swap_an_expired_or_revoked_yes_no_longer_counts() -> None:
    short = sign(expires=NOW + timedelta(minutes=1))
    assert still_approved([short], TERMS, NOW) is None
    late = still_approved([short], TERMS, NOW + timedelta(minutes=1))
    assert late is not None
    assert late.why is Why.EXPIRED
    revoked = Terms(EXPECTED, (Trusted(ApproverName("alice"), public(ALICE), revoked=True),), 1, verify)
    gone = still_approved([sign()], revoked, NOW)
    assert gone is not None
    assert gone.why is Why.REVOKED
    assert still_approved([short, sign(BOB, "bob")], TERMS, NOW + timedelta(minutes=1)) is None


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", "é", public(ALICE) + "AAAA"])
def test_what_is_no_public_key_has_no_fingerprint(text: str) -> None:
    with pytest.raises(ValueError, match="not an Ed25519 public key"):
        fingerprint(text)


def test_a_fingerprint_is_what_ssh_keygen_would_print_for_the_same_bytes() -> None:
    assert raw_key(public(ALICE)) == ALICE.public_key().public_bytes_raw()
    assert fingerprint(public(ALICE)).startswith("SHA256:")
    assert len(fingerprint(public(ALICE))) == len("SHA256:") + 43
