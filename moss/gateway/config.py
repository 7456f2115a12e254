"""Owns what the gateway process is told: `HOME/gateway/config.json`, written by the controller. Never a key's value.

Keys are references that the gateway resolves from its own environment when it calls, so no other process holds them.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError, field_validator, model_validator

from moss.config import Secret, Upstream
from moss.domain.frozen import Frozen
from moss.errors import UserError
from moss.files import write_durably

CONFIG_LIMIT = 4 << 20


class GatewayConfig(Frozen):
    """All that the gateway process needs. Paths are absolute; port 0 takes a free one (the last one, if it can)."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)
    upstreams: tuple[Upstream, ...] = ()
    volatile: tuple[str, ...] = Field((), description="patterns of request lines that never count as a divergence")
    artifacts: Path = Field(description="folder of the store's artifacts: recordings and scripts")
    redact: tuple[str, ...] = Field((), description="the user's own patterns of what is redacted")
    prices: Path | None = Field(None, description="TOML; its rows go before the built-in table's")
    call_seconds: float = Field(1800.0, gt=0, description="no single answer takes longer")
    idle_seconds: float = Field(300.0, gt=0, description="an upstream that is silent for so long is given up")
    write_seconds: float = Field(60.0, gt=0, description="a client that does not read for so long is dropped")
    read_seconds: float = Field(60.0, gt=0, description="a request must be there within it")
    replay_seconds: float = Field(2.0, ge=0, description="a recorded answer is squeezed into it")
    body_bytes: int = Field(32 << 20, gt=0, description="of a request")
    kept_bytes: int = Field(8 << 20, gt=0, description="of an answer in the record")
    record_bytes: int = Field(
        256 << 20, gt=0, description="of one grant's whole record; beyond it requests are refused"
    )
    live_day_bytes: int = Field(2 << 30, gt=0, description="of one day of the live record; beyond it nothing is kept")
    record_days: int = Field(30, ge=1, description="a grant's record is kept for so long after its last exchange")
    live_days: int = Field(14, ge=1, description="days of the live record that are kept")

    @field_validator("volatile", "redact")
    @classmethod
    def _compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return patterns

    @model_validator(mode="after")
    def _absolute(self) -> "GatewayConfig":
        keys = [upstream.key.file for upstream in self.upstreams if upstream.key]
        paths = [self.artifacts, self.prices, *keys, *(upstream.script for upstream in self.upstreams)]
        for path in paths:
            if path is not None and not path.is_absolute():
                raise ValueError(f"{path} is not an absolute path")
        return self

    @model_validator(mode="after")
    def _names_once(self) -> "GatewayConfig":
        names = [upstream.name for upstream in self.upstreams]
        if len(set(names)) != len(names):
            raise ValueError("two upstreams have the same name")
        return self

    def upstream(self, name: str) -> Upstream | None:
        return next((upstream for upstream in self.upstreams if upstream.name == name), None)


def load_config(path: Path) -> GatewayConfig:
    """Raises: UserError with the place of the mistake."""
    try:
        if path.stat().st_size > CONFIG_LIMIT:
            raise UserError(f"larger than {CONFIG_LIMIT} bytes", where=str(path))
        return GatewayConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{place}: {first['msg']}", where=str(path), mend="start it by `moss serve`") from None


def save_config(path: Path, config: GatewayConfig) -> None:
    write_durably(path, config.model_dump_json(indent=1).encode())


def resolve_key(secret: Secret, environ: Mapping[str, str]) -> str:
    """The value of a key reference. A file is read each time, so a rotated key is taken up.

    Raises: UserError naming the reference, never the value.
    """
    if secret.env is not None:
        value, place = environ.get(secret.env, ""), f"environment variable {secret.env}"
    else:
        assert secret.file is not None
        place = f"file {secret.file}"
        try:
            value = secret.file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            value = ""
    if not value:
        raise UserError(f"the key in {place} is not set", mend="set it where the gateway starts, then restart it")
    if not all("!" <= letter <= "~" for letter in value):
        raise UserError(f"the key in {place} holds blanks, line breaks or letters that no header can carry")
    return value
