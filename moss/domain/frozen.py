"""Owns the base of every stored or received value: frozen, and closed to unknown keys.

Invariant: a value that was read can be written again without loss, byte for byte (see `canonical`).
"""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value that is stored or received: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


def canonical(value: BaseModel | dict[str, Any] | list[Any]) -> bytes:
    """The one byte form of a value: JSON, keys sorted, no blanks, UTF-8. Hashes and signatures are over it."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(data: bytes) -> str:
    """`sha256:` and 64 hex digits of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest(value: BaseModel | dict[str, Any] | list[Any]) -> str:
    """The hash of a value's canonical form."""
    return sha256(canonical(value))
