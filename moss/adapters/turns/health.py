"""Owns the one look at an agent's health route. Never decides what follows from it, never waits for a better answer.

Invariant: three values, within a second: ready, starting (nobody listens, 503, slow), failed (all else).
"""

import json

from moss.adapters.turns.exchange import Request, exchange, tidy
from moss.config import HealthSettings
from moss.ports import Place, Probe, Readiness

LOOK = 0.9
STARTING = 503


def look(settings: HealthSettings, place: Place) -> Probe:
    """Asks `place` once. `boot` is the answer's own word where its JSON has one."""
    got = exchange(place.host, place.port, Request("GET", settings.path, {"Accept": "application/json"}), LOOK)
    if got.status is None:
        waits = got.refused or got.late
        return Probe(Readiness.STARTING if waits else Readiness.FAILED, None, got.error or "no answer")
    boot = _boot(got.body)
    if got.status == settings.ready_status:
        return Probe(Readiness.READY, boot, f"{settings.path} answered {got.status}")
    readiness = Readiness.STARTING if got.status == STARTING else Readiness.FAILED
    return Probe(readiness, boot, f"{settings.path} answered {got.status}")


def _boot(body: bytes) -> str | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    boot = said.get("boot") if isinstance(said, dict) else None
    return tidy(str(boot))[:200] if isinstance(boot, str | int) else None
