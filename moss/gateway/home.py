"""Owns where the gateway's own files are, and how they are written: private, and whole or not at all.

Never what is in them. Invariant: a reader sees the old file or the new one; secrets are 0600, folders 0700.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from moss.domain.frozen import Frozen
from moss.errors import UserError
from moss.files import made_once


@dataclass(frozen=True, slots=True)
class GatewayHome:
    """The files below `HOME/gateway`."""

    home: Path

    @property
    def root(self) -> Path:
        return self.home / "gateway"

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def state(self) -> Path:
        """Where the running gateway listens (`GatewayState`)."""
        return self.root / "state.json"

    @property
    def secret(self) -> Path:
        """Signs box tokens; whoever reads it is the controller."""
        return self.root / "secret"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.db"

    @property
    def records(self) -> Path:
        """One recording a grant and attempt."""
        return self.root / "records"

    @property
    def live(self) -> Path:
        """The live agent's exchanges, a file a day."""
        return self.root / "live"

    @property
    def lock(self) -> Path:
        """Held by the one gateway of this home."""
        return self.root / "lock"

    @property
    def door(self) -> Path:
        """Holds nothing but the socket `gateway.sock`: mounted where a box's only way out begins."""
        return self.root / "door"

    @property
    def log(self) -> Path:
        return self.home / "log" / "gateway.log"

    def make(self) -> None:
        """All folders, private."""
        for folder in (self.home, self.root, self.records, self.live, self.door, self.log.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


class GatewayState(Frozen):
    """What a running gateway says of itself. `boot` is new with each start; `born` tells its pid from a later one's."""

    host: str
    port: int
    pid: int
    born: float
    boot: str


def secret_of(path: Path) -> bytes:
    """The secret, made on first use. Raises: UserError when the file holds none."""
    secret = made_once(path, lambda: secrets.token_hex(32).encode()).strip()
    if len(secret) < 32:
        raise UserError("the gateway's secret is shorter than 32 bytes", where=str(path), mend="remove the file")
    return secret


def salt_of(home: Path) -> bytes:
    """The home's own salt of redaction placeholders, made on first use."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return made_once(home / "salt", lambda: secrets.token_bytes(32))
