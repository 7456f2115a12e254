"""Owns approvers' keys: made, read and used on the approver's own machine. Never sent, never in MOSS's home.

A private key is a PEM file (Ed25519, PKCS 8), readable by its owner alone, encrypted when a passphrase is given.
What MOSS holds of it is the public key, as an `[[consent.approvers]]` entry: rotation is a second entry under the
same name, revocation is `revoked = true` on the old one. Invariant: no error message repeats a passphrase or key.
"""

import base64
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from moss.domain.consent import Consent, Statement, fingerprint
from moss.domain.frozen import canonical
from moss.domain.ids import ApproverName
from moss.errors import UserError

LARGEST = 16 << 10
_NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,39}$")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What may be shown of a key: `text` is base64 of the 32 bytes, with its fingerprint."""

    name: ApproverName
    text: str

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.text)

    @property
    def entry(self) -> str:
        """The lines for `moss.toml`."""
        return f'[[consent.approvers]]\nname = "{self.name}"\npublic_key = "{self.text}"\n'


@dataclass(frozen=True)
class PrivateKey:
    """A key that was read: signs, and is never shown."""

    public: PublicKey
    _secret: Ed25519PrivateKey

    def sign(self, statement: Statement) -> Consent:
        """The approver's yes to exactly this statement."""
        signature = self._secret.sign(canonical(statement))
        return Consent(statement=statement, approver=self.public.name, key=self.public.fingerprint, signature=signature)

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.name}, {self.public.fingerprint})"


def new_key(name: str, folder: Path, passphrase: str | None = None, *, away_from: Iterable[Path] = ()) -> PublicKey:
    """Makes `<folder>/<name>.pem` and gives its public half.

    `away_from`: folders that the agent or MOSS can read (its source, its state, the home); a key in one of them
    would let the agent sign for its own change. Raises: UserError.
    """
    _allowed(name, folder, away_from)
    secret = Ed25519PrivateKey.generate()
    lock: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        if not passphrase:
            raise UserError("the passphrase is empty", mend="give one, or none at all")
        lock = BestAvailableEncryption(passphrase.encode())
    data = secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
    path = folder / f"{name}.pem"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        mend = f"moss keys new {name}-2, or move the old file away"
        raise UserError("there is a key already", where=str(path), mend=mend) from None
    except OSError as error:
        raise UserError(f"the key cannot be written: {error.strerror}", where=str(path)) from None
    return _public(name, secret)


def load_key(name: str, folder: Path, passphrase: str | None = None) -> PrivateKey:
    """Reads `<folder>/<name>.pem`. Raises: UserError with what is wrong with it and the mend."""
    if not _NAME.fullmatch(name):
        raise UserError("an approver's name is lower-case letters, digits and dashes, at most 40")
    path = folder / f"{name}.pem"
    data = _owners_file(path)
    try:
        secret = load_pem_private_key(data, passphrase.encode() if passphrase else None)
    except TypeError:
        raise _locked(path, passphrase) from None
    except (ValueError, UnsupportedAlgorithm):
        if b"ENCRYPTED" in data and passphrase:
            raise UserError("the passphrase is wrong", where=str(path), mend="try again; nothing was signed") from None
        raise UserError("is not a private key", where=str(path), mend=f"moss keys new {name}") from None
    if not isinstance(secret, Ed25519PrivateKey):
        raise UserError("is not an Ed25519 key", where=str(path), mend=f"moss keys new {name}")
    return PrivateKey(_public(name, secret), secret)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the key of these 32 bytes made the signature over `message`. Never raises."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _public(name: str, secret: Ed25519PrivateKey) -> PublicKey:
    raw = secret.public_key().public_bytes_raw()
    return PublicKey(ApproverName(name), base64.b64encode(raw).decode())


def _locked(path: Path, passphrase: str | None) -> UserError:
    if passphrase:
        return UserError("has no passphrase, and one was given", where=str(path), mend="leave it out")
    return UserError("the key has a passphrase", where=str(path), mend="give it with --passphrase-file or when asked")


def _allowed(name: str, folder: Path, away_from: Iterable[Path]) -> None:
    if not _NAME.fullmatch(name):
        raise UserError("an approver's name is lower-case letters, digits and dashes, at most 40")
    real = folder.resolve()
    for near in away_from:
        if real.is_relative_to(near.resolve()):
            raise UserError(
                f"a key in {near} could be read by the agent that it approves",
                where=str(folder),
                mend="keep it on your own machine, e.g. in ~/.config/moss/keys",
            )


def _owners_file(path: Path) -> bytes:
    """The bytes of a regular file that only its owner can read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError("is not a regular file", where=str(path))
            if status.st_mode & 0o077:
                raise UserError("others can read the key", where=str(path), mend=f"chmod 600 {path}")
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        name = path.stem
        raise UserError(f"there is no key of {name}", where=str(path), mend=f"moss keys new {name}") from None
    except OSError as error:
        raise UserError(f"the key cannot be read: {error.strerror}", where=str(path)) from None
    if len(data) > LARGEST:
        raise UserError("is too large for a key", where=str(path))
    return data
