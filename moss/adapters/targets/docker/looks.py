"""Owns what a look at the agent's container means: ready, starting or failed, and how it ended. Asks nothing itself."""

import time
from collections.abc import Callable

from moss.adapters.targets.docker.containers import boot_of, runs
from moss.dockerd import Config, plain
from moss.ports import Probe, Readiness

LAST_BREATH = 0.3
"""seconds in which an agent that broke off under a look is expected to end: how it ended says more than that"""


def absent(name: str) -> Probe:
    return Probe(Readiness.FAILED, None, f"there is no container `{name}`: somebody removed it")


def without_address(told: Config) -> Probe:
    """Of one that ended, or that is on its way up."""
    if runs(told) and not told["State"].get("Restarting"):
        return Probe(Readiness.STARTING, boot_of(told), "it has no address yet")
    return ended(told)


def ended(told: Config) -> Probe:
    """How it ended, in words."""
    state = told["State"]
    code = int(state.get("ExitCode") or 0)
    if state.get("Status") == "created":
        # an engine that could not start it says why; it never ran
        said = plain(state.get("Error") or "") or "it was never started"
        return Probe(Readiness.FAILED, None, said, code or None)
    how = "killed for want of memory" if state.get("OOMKilled") else f"it ended with {code}"
    why = f": {plain(state['Error'])}" if state.get("Error") else ""
    return Probe(Readiness.FAILED, boot_of(told), how + why, code)


def seen(told: Config, health: Probe, again: Callable[[], Config | None]) -> Probe:
    """What its health route said, unless it is dying: its connections end a moment before it does."""
    if health.readiness is Readiness.READY:
        return Probe(health.readiness, boot_of(told), health.detail)
    until = time.monotonic() + (LAST_BREATH if health.readiness is Readiness.FAILED else 0.0)
    while True:
        now = again()
        if now is None:
            return Probe(Readiness.FAILED, None, "its container was removed")
        if not runs(now) or now["State"].get("Restarting"):
            return ended(now)
        if time.monotonic() >= until:
            return Probe(health.readiness, boot_of(told), health.detail)
        time.sleep(LAST_BREATH / 10)
