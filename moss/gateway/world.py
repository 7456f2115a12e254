"""Owns the one decision of a request: who speaks. Pure (design 6, modes and divergence).

Invariant: before the first request that differs from the recording, only the recording speaks; from it on never again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from moss.domain.case import OnDivergence
from moss.domain.evidence import Exchange
from moss.domain.ids import Digest
from moss.ports import GatewayMode, Grant


class Speaker(StrEnum):
    UPSTREAM = "upstream"
    RECORDING = "recording"
    SCRIPT = "script"
    NOBODY = "nobody"
    """a clear error"""
    EMPTY = "empty"
    """an empty assistant message"""


@dataclass(frozen=True, slots=True)
class Choice:
    """Who speaks; `exchange` for the recording. `divergent`: this is the first request that differed."""

    speaker: Speaker
    exchange: Exchange | None = None
    divergent: bool = False


def choose(
    grant: Grant,
    ordinal: int,
    canonical: Digest,
    recording: Mapping[int, Exchange],
    diverged_at: int | None,
) -> Choice:
    """Who answers request number `ordinal` of an attempt. `recording` by ordinal; empty without one."""
    match grant.mode:
        case GatewayMode.LIVE | GatewayMode.RECORD:
            return Choice(Speaker.UPSTREAM)
        case GatewayMode.SCRIPT:
            return Choice(Speaker.SCRIPT)
        case GatewayMode.REPLAY:
            recorded = recording.get(ordinal)
            before = diverged_at is None or ordinal < diverged_at
            if before and recorded is not None and recorded.whole and recorded.canonical == canonical:
                return Choice(Speaker.RECORDING, recorded)
            return Choice(_after(grant.on_divergence), divergent=before)
        case _:
            assert_never(grant.mode)


def _after(on_divergence: OnDivergence) -> Speaker:
    match on_divergence:
        case OnDivergence.LIVE:
            return Speaker.UPSTREAM
        case OnDivergence.SCRIPT:
            return Speaker.SCRIPT
        case OnDivergence.FAIL:
            return Speaker.NOBODY
        case OnDivergence.EMPTY:
            return Speaker.EMPTY
        case _:
            assert_never(on_divergence)
