"""Owns the comparison of this controller's settings with those that a run began with (docs/adr/012).

The proof of a run is one over its settings: detectors, bounds, worlds, what is live and how. `consent` is not pinned:
who may say yes, and how many must, counts as it is at that moment (`engine.consents`). Never changes a run.
"""

from moss.config import Settings
from moss.domain.ids import Digest
from moss.domain.pins import changed, pin
from moss.domain.run import Run


def pins_of(settings: Settings) -> dict[str, Digest]:
    """Section of `moss.toml` -> the hash of what of it the proof stands on."""
    return {
        "substrate": pin(settings.substrate),
        "build": pin(settings.build),
        "live": pin(settings.live),
        "health": pin(settings.health),
        "turn": pin(settings.turn),
        "canary": pin(settings.canary),
        "boxes": pin(settings.boxes, leave_out=("parallel", "engine")),
        "evidence": pin(settings.evidence, leave_out=("every_seconds", "seal_at", "group_by")),
        "gateway": pin(settings.gateway, leave_out=("host", "port", "prices", "upstreams")),
        "gateway.upstreams": pin(*settings.gateway.upstreams, leave_out=("key",)),
        "trials": pin(settings.trials),
        "swap": pin(settings.swap),
    }


def settings_changed(settings: Settings, run: Run) -> str | None:
    """What is another than when the run began, as one sentence without its end; None when nothing is."""
    names = changed(run.started.pinned, pins_of(settings))
    if not names:
        return None
    where = ", ".join(f"[{name}]" for name in names)
    return f"moss.toml {where} changed since {run.id} began, and its proof stands on the settings of then"
