"""Owns box tokens: a signed grant that a box carries. Pure: secret and time come in.

Form: `moss1.<payload>.<signature>`, both base64url; the payload is canonical JSON, the signature HMAC-SHA256 over
`moss1.<payload>`. Invariant: what does not verify is never parsed. The same grant and attempt give the same token.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from moss.domain.frozen import Frozen, canonical
from moss.errors import TokenRefused
from moss.ports import Grant

PREFIX = "moss1"
TOKEN_LIMIT = 6000
GRANT = TypeAdapter(Grant)


class Opened(Frozen):
    """What registering a grant gave. `attempt` counts how often it was begun; `expires` in epoch seconds."""

    attempt: int
    expires: int | None = None


class Signed(Frozen):
    """The payload of a token."""

    grant: dict[str, object]
    attempt: int
    expires: int | None


@dataclass(frozen=True, slots=True)
class Pass:
    """A verified token."""

    grant: Grant
    attempt: int
    expires: int | None


def sign(secret: bytes, grant: Grant, opened: Opened) -> str:
    signed = Signed(grant=GRANT.dump_python(grant, mode="json"), attempt=opened.attempt, expires=opened.expires)
    body = f"{PREFIX}.{_text(canonical(signed))}"
    return f"{body}.{_text(_mac(secret, body))}"


def verify(secret: bytes, token: str, now: datetime) -> Pass:
    """Raises: TokenRefused (forged, damaged, expired)."""
    body, _, signature = token.rpartition(".")
    if len(token) > TOKEN_LIMIT or not token.isascii() or not body.startswith(PREFIX + "."):
        raise TokenRefused("this is not a token of this gateway")
    if not hmac.compare_digest(signature.encode(), _text(_mac(secret, body)).encode()):
        raise TokenRefused("the token's signature is not this gateway's")
    try:
        signed = Signed.model_validate_json(_bytes(body.partition(".")[2]))
        grant = GRANT.validate_python(signed.grant)
    except (ValidationError, binascii.Error, ValueError):
        raise TokenRefused("the token is of another version of MOSS") from None
    if signed.expires is not None and now.astimezone(UTC).timestamp() >= signed.expires:
        raise TokenRefused("the token has expired")
    return Pass(grant, signed.attempt, signed.expires)


def admin_token(secret: bytes) -> str:
    """What the controller shows at `/_moss/`. Derived, so a box token never passes for it."""
    return "moss-admin." + hmac.new(secret, b"moss admin token v1", hashlib.sha256).hexdigest()


def _mac(secret: bytes, body: str) -> bytes:
    return hmac.new(secret, b"moss box token v1\n" + body.encode(), hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
