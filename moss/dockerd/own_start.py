"""Owns how a box starts the substrate as its container is started. Pure: nothing is asked.

From the same `UserSettings` as the live container, so that what is proven is what goes live. Invariant: no value that
looks secret comes with it; its name does, so that it can be told.
"""

from collections.abc import Sequence

from moss.config import DockerLive
from moss.dockerd.substrate import UserSettings
from moss.domain.variables import is_secret
from moss.ports import OwnStart


def own_start(user: UserSettings, live: DockerLive) -> OwnStart:
    """What the person set over the image; what `live` declares itself comes with each box and is left out here."""
    declared = {**live.env, **live.preflight_env}
    asked = {name: value for name, value in user.maps.get("Env", {}).items() if name not in declared}
    left_out = tuple(sorted(name for name, value in asked.items() if value is not None and is_secret(name, value)))
    words = user.words
    return OwnStart(
        state=str(live.state),
        port=live.port,
        entrypoint=_argv(words["Entrypoint"]) if "Entrypoint" in words else None,
        command=_argv(words["Cmd"]) if "Cmd" in words else None,
        workdir=words.get("WorkingDir") or None,
        user=words.get("User") or None,
        env={name: value for name, value in asked.items() if value is not None and name not in left_out},
        unset=tuple(sorted(name for name, value in asked.items() if value is None)),
        left_out=left_out,
    )


def _argv(words: Sequence[str] | None) -> tuple[str, ...]:
    """An entrypoint of one empty word is how the client says none."""
    return () if not words or list(words) == [""] else tuple(words)
