"""Owns the set of ports that the engine works with. Made once, in `wiring`; never chosen or replaced here."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from moss.config import RoleSettings, Settings
from moss.domain.consent import Verify
from moss.errors import NoSpace
from moss.ports import (
    Boxes,
    Clock,
    CodingAgent,
    EvidenceSource,
    GatewayControl,
    ImageBuilder,
    Judge,
    LiveTarget,
    Notifier,
    Source,
    Store,
    TurnDriver,
)


@dataclass(frozen=True)
class Parts:
    """Everything outside the engine.

    `coder` gives the program of a role, or raises UserError. `secrets_in` names the kinds of secrets in a text (for
    the diff policy). `redact` takes keys and private data out of a text; it never fails. `verify` checks a signature
    (see `domain.consent.Verify`). `keyed` is a hash of words that nobody without this home's secret can make.
    """

    settings: Settings
    clock: Clock
    store: Store
    source: Source
    builder: ImageBuilder
    boxes: Boxes
    target: LiveTarget
    gateway: GatewayControl
    turns: TurnDriver
    evidence: EvidenceSource
    coder: Callable[[RoleSettings], CodingAgent]
    redact: Callable[[str], str]
    secrets_in: Callable[[str], Sequence[str]]
    verify: Verify
    judges: tuple[Judge, ...] = ()
    notifiers: tuple[Notifier, ...] = ()
    keyed: Callable[[str], bytes] = field(default=lambda words: hashlib.sha256(words.encode()).digest())
    free_bytes: Callable[[], int] = field(default=lambda: 1 << 62)

    def require_space(self, before: str) -> None:
        """The free-space watermark, looked at before `a build` or `a swap`. Raises: NoSpace."""
        free, wanted = self.free_bytes(), self.settings.retention.free_bytes
        if free < wanted:
            said = f"{free >> 20} MiB free, {wanted >> 20} MiB are kept free before {before}"
            raise NoSpace(f"{said}: make room, or lower retention.free_bytes")
