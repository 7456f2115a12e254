"""Owns what makes a Compose project agree with MOSS: after a swap, `docker compose up -d` changes nothing.

Compose leaves a container alone when its label names the hash of the service in the file and its other label the image
that the file's name means now. So the file has to name the tag that moves with the live version, and to leave the port
to the hold proxy: were it still published there, the first change of the file would take the agent down (the port is
taken). Never edits the file; never starts anything of the project.
Invariant: text of the file is data; what is not there (the `docker compose` program, the file) is said, not guessed.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moss.adapters.targets.docker.running import Running
from moss.dockerd import plain
from moss.dockerd.labels import COMPOSE_FILES, COMPOSE_FOLDER, COMPOSE_PROJECT, COMPOSE_SERVICE
from moss.dockerd.substrate import user_settings
from moss.errors import Refused

SECONDS = 30.0
LIVE_TAG = "moss-live"
"""of the version that is live; a swap moves it"""


@dataclass(frozen=True, slots=True)
class Composed:
    """A container of a project, as Compose knows it. `engine`: the socket's address, None for the usual one."""

    project: str
    name: str
    files: tuple[str, ...]
    folder: str
    engine: str | None = None

    @staticmethod
    def of(labels: Mapping[str, str], engine: str | None = None) -> "Composed | None":
        """None for a container that Compose did not make."""
        if COMPOSE_PROJECT not in labels or COMPOSE_SERVICE not in labels:
            return None
        files = tuple(one for one in labels.get(COMPOSE_FILES, "").split(",") if one)
        return Composed(
            labels[COMPOSE_PROJECT], labels[COMPOSE_SERVICE], files, labels.get(COMPOSE_FOLDER, "/"), engine
        )

    @property
    def where(self) -> str:
        """For people."""
        return f"service `{plain(self.name)}` in {plain(', '.join(self.files) or 'the compose file')}"

    def argv(self, *words: str) -> tuple[str, ...]:
        """`docker compose` on this project's files."""
        host = ("--host", self.engine) if self.engine else ()
        files = [word for file in self.files for word in ("--file", file)]
        return ("docker", *host, "compose", "--project-name", self.project, "--project-directory", self.folder, *files,
                *words)  # fmt: skip


class Unknown(Exception):
    """The project cannot be asked: no `docker compose` here, or its files are elsewhere. Says which."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the container under MOSS has to be labelled with, and what a person has to know."""

    hash: str | None = None
    notes: tuple[str, ...] = ()


def agreed(running: Running, port: int | None, env: Mapping[str, str], engine: str | None = None) -> Agreed:
    """How a container of a project stays one of it. `port`: the agent's, which the proxy takes; None: it keeps it.

    Raises: Refused with the exact lines to change in the compose file.
    """
    service = Composed.of(running.labels, engine)
    if service is None:
        return Agreed()
    repository = user_settings(running.told, running.image).repository or service.name
    tag = f"{repository}:{LIVE_TAG}"
    try:
        refuse_unfit(service, configured(service, env), tag, port)
        note = f"it stays {service.where}: after a change of the file, docker compose up -d and then moss doctor"
        return Agreed(config_hash(service, env), (note,))
    except Unknown as why:
        return Agreed(None, (f"{why}; docker compose up -d may make the container anew, unless image: {tag} is there",))


def refuse_unfit(service: Composed, told: Mapping[str, Any], tag: str, port: int | None) -> None:
    """`told`: the service as `docker compose config` says it. Raises: Refused with the exact lines to change."""
    lines = []
    if told.get("image") != tag:
        lines.append(f"image: {tag}")
    if any(int(one.get("target", 0)) == port for one in told.get("ports") or ()):
        lines.append(f"no `ports:` for {port} (MOSS's hold proxy has the port)")
    if lines:
        raise Refused(
            f"{service.where} does not say what MOSS will run, so `docker compose up -d` would undo a swap",
            mend=f"write there: {'; '.join(lines)}. Nothing changes before moss adopt",
        )


def configured(service: Composed, env: Mapping[str, str]) -> dict[str, Any]:
    """The service as Compose reads it, variables filled in from `env` (of whoever runs Compose). Raises: Unknown."""
    said = _run(service.argv("config", "--format", "json", service.name), env)
    try:
        found: dict[str, Any] = json.loads(said)["services"][service.name]
        return found
    except (ValueError, KeyError, TypeError):
        raise Unknown(f"`docker compose config` knows no {service.where}") from None


def config_hash(service: Composed, env: Mapping[str, str]) -> str:
    """What Compose would label the service's container with now. Raises: Unknown."""
    for line in _run(service.argv("config", "--hash", service.name), env).splitlines():
        name, _, told = line.partition(" ")
        if name == service.name and told.strip():
            return told.strip()
    raise Unknown(f"`docker compose config --hash` says nothing of {service.where}")


def _run(argv: tuple[str, ...], env: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(argv, env=dict(env), capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        raise Unknown("the program `docker` with `compose` does not work here") from None
    if done.returncode:
        raise Unknown(f"`docker compose` does not read the project ({plain(done.stderr)[-200:]})")
    return done.stdout
