"""Owns a quick look at what runs beside: the live agent, `moss serve`, the gateway. Starts nothing, waits for nothing.

What is told comes from locks and files of the home, and for a container from the engine: a look is fast and works
when all is down.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from moss.api.says import LiveLine
from moss.daemon import lock

if TYPE_CHECKING:
    from moss.config import Settings
    from moss.domain.ids import CommitId
    from moss.wiring import Wiring


def live_line(wiring: "Wiring") -> LiveLine:
    """What is live. Raises: TargetDown when what is remembered of it cannot be read."""
    if not (wiring.home / "live").is_dir():
        return LiveLine(known=False)
    live = wiring.target.standing()
    if live is None:
        return LiveLine(known=False)
    image = live.image
    return LiveLine(known=True, name=image.name, image=image.digest, commit=image.commit, running=live.running)


def serve_lock(home: Path) -> Path:
    """Held by the `moss serve` of this home that has the port."""
    return home / "serve.lock"


def serve_runs(home: Path) -> bool:
    return not lock.is_free(serve_lock(home))


def gateway_runs(home: Path) -> bool:
    return not lock.is_free(home / "gateway" / "lock")


def proxy_runs(settings: "Settings") -> bool:
    return not lock.is_free(settings.home / "hold" / "proxy.lock")


def supervisor_runs(home: Path) -> bool:
    return not lock.is_free(home / "live" / "supervisor.lock")


def uncommitted(wiring: "Wiring", commit: "CommitId") -> list[str]:
    """Files of the user's checkout that are not as in `commit`; MOSS's own beside them are no part of the agent."""
    settings = wiring.settings
    folder = settings.path(settings.substrate.source).resolve()
    own = [path.resolve() for path in (settings.home, settings.state, settings.root / "moss.toml") if path is not None]
    changed = [one.path for one in wiring.source.diff(commit, folder).files]
    return [path for path in changed if not any((folder / path).is_relative_to(one) for one in own)]
