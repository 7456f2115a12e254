"""The controller's side of the gateway. The docstrings are the contract (see `moss.ports`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from moss.domain.case import OnDivergence
from moss.domain.evidence import Exchange
from moss.domain.ids import Digest, Key, RunId
from moss.ports.boxes import BoxRole


class GatewayMode(StrEnum):
    LIVE = "live"
    RECORD = "record"
    REPLAY = "replay"
    SCRIPT = "script"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one box may do at the gateway. `recording`, `script` are artifacts; money in US dollars."""

    key: Key
    run: RunId
    stage: str
    mode: GatewayMode
    upstreams: tuple[str, ...]
    models: tuple[str, ...] = ()
    recording: Digest | None = None
    script: Digest | None = None
    on_divergence: OnDivergence = OnDivergence.LIVE
    max_tokens: int | None = None
    max_money_usd: float | None = None
    seconds: float | None = 3600.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a grant used so far."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    money_usd: float = 0.0
    faults: int = 0
    """429, 5xx, refused keys and lost answers that were the upstream's own (a replayed fault is not one), and what the
    gateway could not do: no rule, no artifact, no record"""
    diverged_at: int | None = None
    live: bool = False
    exhausted: bool = False
    estimated: int = 0
    """requests whose tokens were estimated, since their answers named none"""


class GatewayControl(Protocol):
    """The controller's side of the gateway, which is a process of its own."""

    def url(self, role: BoxRole) -> str:
        """The base URL as a box of this role sees it. Raises: GatewayDown."""

    def open(self, grant: Grant) -> str:
        """A signed token for one box. The same grant gives a token for the same account: what an earlier attempt
        of it (the controller was killed) paid for is served again while requests are the same, and not paid twice.
        Raises: GatewayDown."""

    def usage(self, key: Key) -> Usage:
        """Raises: GatewayDown."""

    def record(self, key: Key) -> Sequence[Exchange]:
        """All exchanges of a grant, in order. Raises: GatewayDown."""

    def live_record(self, since: datetime, until: datetime) -> Sequence[Exchange]:
        """Exchanges of the live agent. Raises: GatewayDown."""

    def close(self, key: Key) -> Usage:
        """Revokes the token; its record and account stay. Idempotent. Raises: GatewayDown."""
