"""Approvers' keys: private on disk, useful for one thing, and wrong in clear words."""

import base64
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from moss.config import ConsentSettings
from moss.domain.consent import Statement, Terms, Trusted, fingerprint, refusal
from moss.domain.ids import Digest, RunId
from moss.errors import UserError
from moss.keys import PublicKey, load_key, new_key, verify

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SHA = Digest("sha256:" + "a" * 64)
STATEMENT = Statement(
    substrate="clerk",
    run=RunId("ev-01"),
    base=SHA,
    candidate=SHA,
    diff=SHA,
    evidence=SHA,
    policy=SHA,
    expires=datetime(2026, 11, 25, tzinfo=UTC),
)


def wrong(name: str, folder: Path, passphrase: str | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        load_key(name, folder, passphrase)
    return caught.value


def test_a_key_signs_what_its_entry_in_moss_toml_verifies(tmp_path: Path) -> None:
    import tomllib

    public = new_key("alice", tmp_path / "keys")
    approver = ConsentSettings.model_validate(tomllib.loads(public.entry)["consent"]).approvers[0]
    consent = load_key("alice", tmp_path / "keys").sign(STATEMENT)
    terms = Terms(STATEMENT, (Trusted(approver.name, approver.public_key),), 1, verify)
    assert refusal(consent, terms, NOW) is None
    assert consent.key == public.fingerprint == fingerprint(public.text)


def test_a_private_key_is_its_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        new_key("alice", tmp_path / "a" / "keys")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a" / "keys" / "alice.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "a" / "keys").stat().st_mode) == 0o700


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    new_key("alice", tmp_path)
    (tmp_path / "alice.pem").chmod(0o640)
    said = wrong("alice", tmp_path)
    assert (said.sentence, said.mend) == ("others can read the key", f"chmod 600 {tmp_path / 'alice.pem'}")


def test_a_passphrase_locks_the_key(tmp_path: Path) -> None:
    public = new_key("alice", tmp_path, "correct horse")
    assert load_key("alice", tmp_path, "correct horse").public == public
    assert wrong("alice", tmp_path, "battery staple").sentence == "the passphrase is wrong"
    assert wrong("alice", tmp_path).sentence == "the key has a passphrase"
    assert "staple" not in str(wrong("alice", tmp_path, "battery staple"))
    assert b"ENCRYPTED" in (tmp_path / "alice.pem").read_bytes()


def test_a_passphrase_for_a_key_without_one_is_told(tmp_path: Path) -> None:
    new_key("alice", tmp_path)
    assert "no passphrase" in wrong("alice", tmp_path, "x").sentence
    with pytest.raises(UserError, match="the passphrase is empty"):
        new_key("bob", tmp_path, "")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    first = new_key("alice", tmp_path)
    with pytest.raises(UserError, match="there is a key already"):
        new_key("alice", tmp_path)
    assert load_key("alice", tmp_path).public == first


def test_a_key_is_not_made_where_the_agent_can_read_it(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "looks-elsewhere").symlink_to(tmp_path / "state")
    for folder in ("state", "state/deep/keys", "looks-elsewhere/keys", "x/../state"):
        with pytest.raises(UserError, match="could be read by the agent"):
            new_key("alice", tmp_path / folder, away_from=[tmp_path / "home", tmp_path / "state"])
    assert not list((tmp_path / "state").rglob("*.pem"))
    new_key("alice", tmp_path / "state-of-mind", away_from=[tmp_path / "state"])


@pytest.mark.parametrize("name", ["", "Alice", "../alice", "a/b", "a\n", "-a", "a" * 41])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an approver's name"):
        new_key(name, tmp_path)
    assert "an approver's name" in wrong(name, tmp_path).sentence


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_told(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "alice.pem").write_bytes(data)
    (tmp_path / "alice.pem").chmod(0o600)
    assert wrong("alice", tmp_path).sentence == "is not a private key"


def test_a_key_of_another_kind_is_told(tmp_path: Path) -> None:
    rsa = generate_private_key(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "alice.pem").write_bytes(rsa)
    (tmp_path / "alice.pem").chmod(0o600)
    assert wrong("alice", tmp_path).sentence == "is not an Ed25519 key"


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    assert wrong("alice", tmp_path).mend == "moss keys new alice"


def test_what_is_no_file_or_too_large_is_told(tmp_path: Path) -> None:
    (tmp_path / "alice.pem").mkdir()
    assert "file" in str(wrong("alice", tmp_path)) or "directory" in str(wrong("alice", tmp_path)).lower()
    os.mkfifo(tmp_path / "bob.pem", 0o600)
    assert wrong("bob", tmp_path).sentence == "is not a regular file"
    (tmp_path / "carol.pem").write_bytes(b"x" * 20_000)
    (tmp_path / "carol.pem").chmod(0o600)
    assert wrong("carol", tmp_path).sentence == "is too large for a key"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        new_key("alice", tmp_path / "file" / "keys")


def test_a_key_that_was_read_is_not_shown(tmp_path: Path) -> None:
    public = new_key("alice", tmp_path)
    assert repr(load_key("alice", tmp_path)) == f"PrivateKey(alice, {public.fingerprint})"


@given(st.binary(max_size=40), st.binary(max_size=80), st.binary(max_size=80))
def test_verifying_garbage_is_no_and_never_an_error(key: bytes, message: bytes, signature: bytes) -> None:
    assert verify(key, message, signature) is False


def test_a_fingerprint_has_the_form_that_people_know() -> None:
    key = PublicKey(RunId("alice"), base64.b64encode(bytes(32)).decode())  # type: ignore[arg-type]
    assert key.fingerprint == "SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU"
