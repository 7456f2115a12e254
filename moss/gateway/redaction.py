"""Owns which redaction the records of this gateway pass through. Never what a secret looks like (`domain.redact`)."""

from moss.domain.redact import Redactor
from moss.gateway.call import Redact
from moss.gateway.config import GatewayConfig
from moss.gateway.home import GatewayHome, salt_of


def redact_of(home: GatewayHome, config: GatewayConfig) -> Redact:
    """The home's redaction, by whose salt placeholders are the same as in the evidence."""
    redactor = Redactor(salt_of(home.home), config.redact)

    def redact(data: bytes) -> bytes:
        return redactor.redact_bytes(data)[0]

    return redact
