"""Owns which redaction the records of this gateway pass through. Never what a secret looks like (`domain.redact`)."""

from moss.domain.redact import Redactor
from moss.gateway.call import Redact
from moss.gateway.config import GatewayConfig


def redact_of(config: GatewayConfig) -> Redact:
    """The home's redaction; without a salt, none. The salt makes placeholders the same as in the evidence."""
    if config.salt is None:
        return bytes
    redactor = Redactor(config.salt.read_bytes(), config.redact)

    def redact(data: bytes) -> bytes:
        return redactor.redact_bytes(data)[0]

    return redact
