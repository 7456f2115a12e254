"""Owns what a user may write under `[live]`, by kind; re-exported by `moss.config`. Never opens anything."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from moss.domain.frozen import Frozen

Argv = Annotated[tuple[str, ...], Field(min_length=1)]


class ProcessLive(Frozen):
    """The live agent as a supervised process of this host."""

    kind: Literal["process"] = "process"
    argv: Argv = Field(description="words {port} {state} {image} {gateway} {token} are filled in")
    env: dict[str, str] = {}
    preflight_env: dict[str, str] = Field({}, description="added for preflight and trials: outward effects off")
    host: str = Field("127.0.0.1", description="the address of this host on which the hold proxy listens")
    port: int = Field(ge=1, le=65535, description="where users talk to it: the hold proxy listens here")
    state: Path
    grace_seconds: float = Field(10.0, gt=0)
    start_seconds: float = Field(60.0, gt=0)
    drain: Literal["hold", "drain"] = Field("hold", description="agents that poll (chat bots) are drained, not held")


class DockerLive(Frozen):
    """The live agent as a container of a Docker Engine on this machine (docs/docker.md)."""

    kind: Literal["docker"] = "docker"
    container: str = Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$", description="its name; it keeps it")
    port: int = Field(ge=1, le=65535, description="the agent's, inside the container")
    state: PurePosixPath = Field(description="the folder inside the container that a volume or a bind mount keeps")
    argv: tuple[str, ...] = Field(
        (), description="how a trial starts it, {port} {state} filled in; none: the image's own entrypoint and command"
    )
    env: dict[str, str] = Field(
        {}, description="set over the container's own; {gateway} {token} {port} {state} are filled in"
    )
    preflight_env: dict[str, str] = Field({}, description="added for preflight and trials: outward effects off")
    grace_seconds: float = Field(10.0, gt=0, description="time to end after SIGTERM; its own --stop-timeout wins")
    start_seconds: float = Field(60.0, gt=0)
    drain: Literal["hold", "drain"] = Field("hold", description="agents that poll (chat bots) are drained, not held")
    engine: str | None = Field(None, pattern=r"^unix:///", description="the engine's socket; None: the usual one")
    front_image: str | None = Field(None, description="MOSS's own image, for hold proxy and door; None: moss:VERSION")

    @field_validator("state")
    @classmethod
    def _is_a_place(cls, state: PurePosixPath) -> PurePosixPath:
        if not state.is_absolute() or ".." in state.parts or len(state.parts) < 2:
            raise ValueError("a folder inside the container, absolute, e.g. /data")
        return state


def kind_or(default: str) -> Discriminator:
    """Chooses by `kind`; a table without one is the first look's, which needs no engine."""

    def kind(told: object) -> str | None:
        found = told.get("kind", default) if isinstance(told, dict) else getattr(told, "kind", None)
        return found if isinstance(found, str) else None

    return Discriminator(kind)


LiveSettings = Annotated[
    Annotated[ProcessLive, Tag("process")] | Annotated[DockerLive, Tag("docker")], kind_or("process")
]


def state_folder(live: LiveSettings) -> Path | None:
    """The state as the settings tell it: a folder of this host; None where only the target knows (a container's)."""
    return live.state if isinstance(live, ProcessLive) else None
