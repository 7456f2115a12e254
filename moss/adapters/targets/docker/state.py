"""Owns the state of an agent in a container: where it is on this host, and who may touch it there.

A folder that this user owns is worked on directly. Any other (a volume is root's) is worked on by a helper: a container
of MOSS's own image, without a network, that sees that folder, read-only where it only reads, and one of the home's.
Invariant: both do the same steps (`state.steps`).
"""

import os
from contextlib import suppress
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from moss.adapters.targets.docker.containers import mount_of
from moss.adapters.targets.state import tree
from moss.adapters.targets.state.steps import perform
from moss.adapters.targets.state.words import Answer, Asked
from moss.daemon import durable
from moss.dockerd import Config, Conflict, Engine, Gone, plain
from moss.dockerd.labels import HOME, ROLE
from moss.domain.frozen import Frozen
from moss.domain.ids import Key
from moss.errors import NoSpace, TargetDown, TargetError
from moss.ports import Snapshot

READS = ("take", "harden", "copy", "forget")
INSIDE = PurePosixPath("/state")
SNAPSHOTS, COPY = "snapshots", "evidence"
CAPABILITIES = ("DAC_OVERRIDE", "CHOWN", "FOWNER", "FSETID")
"""over the files of whatever user the agent is"""


class StatePlace(Frozen):
    """A mount of the agent's container and the state's path below it. `volume`: its name, None for a folder."""

    source: Path
    volume: str | None
    beneath: PurePosixPath

    @property
    def folder(self) -> Path:
        """On this host."""
        return self.source / self.beneath


def place_of(told: Config, state: PurePosixPath) -> StatePlace | None:
    """Where a container keeps a folder of its own; None: in its own layer."""
    mount = mount_of(told, str(state))
    if mount is None or mount.get("Type") not in ("volume", "bind"):
        return None
    volume = mount.get("Name") if mount["Type"] == "volume" else None
    return StatePlace(source=Path(mount["Source"]), volume=volume, beneath=state.relative_to(mount["Destination"]))


class LiveState:
    """The state of one home's agent at `place`; `folder` is the home's own for it. `image`: of helpers."""

    def __init__(self, engine: Engine, home_tag: str, folder: Path, image: str, place: StatePlace) -> None:
        self._engine, self._tag, self._folder, self._image, self.place = engine, home_tag, folder, image, place

    @property
    def is_near(self) -> bool:
        """Whether this process may touch all of it."""
        return os.geteuid() == 0 or tree.all_of(self.place.folder, os.geteuid())

    def take(self, key: Key, limit_bytes: int) -> Snapshot | None:
        """Raises: NoSpace, TargetError."""
        taken = self._do("take", key=key, limit_bytes=limit_bytes).taken
        if taken is not None and not self.is_near:
            self._help(self._asked("harden", key=key), waits=False)
        return taken.snapshot if taken is not None else None

    def restore(self, key: Key) -> None:
        """Raises: NoSpace, TargetError when there is no whole snapshot."""
        self._do("restore", key=key)

    def settle(self, key: Key) -> None:
        self._do("settle", key=key)

    def forget(self, key: Key) -> None:
        self._do("settle", key=key)
        self._do("forget", key=key)

    def copy(self, into: Path) -> None:
        """Of a running agent, consistent, this user's own. Raises: NoSpace, TargetError."""
        self._do("copy", into=into.absolute())

    def readable(self) -> Path:
        """A folder with the state as it is now: itself, or a copy of this moment. Raises: NoSpace, TargetError."""
        if self.is_near:
            return self.place.folder
        into = self._folder / COPY
        self.copy(into)
        return into

    # inside

    def _asked(self, do: str, **words: object) -> Asked:
        state = self.place.folder if self.is_near else Path(INSIDE / self.place.beneath)
        folder = durable.private_folder(self._folder / SNAPSHOTS)
        owner = None if self.is_near else (os.geteuid(), os.getegid())
        return Asked.model_validate({"do": do, "state": state, "folder": folder, "owner": owner, **words})

    def _do(self, do: str, **words: object) -> Answer:
        asked = self._asked(do, **words)
        return perform(asked) if self.is_near else self._help(asked)

    def _help(self, asked: Asked, *, waits: bool = True) -> Answer:
        """In a helper. One that a killed controller left is ended first: every step may be killed."""
        name = f"moss-{self._tag}-{'state' if waits else 'disk'}"
        self._remove(name)
        try:
            with self._engine.saying("the state's helper cannot be started"):
                self._engine.api.create_container_from_config(self._config(asked, waits), name)
                self._engine.api.start(name)
                if not waits:
                    return Answer()
                self._engine.streams.wait(name)
                said = self._engine.api.logs(name, stderr=True)
        except (Gone, Conflict) as error:
            raise TargetDown(f"the state's helper cannot be started: {plain(error)}") from None
        finally:
            if waits:
                self._remove(name)
        return _answer(said)

    def _config(self, asked: Asked, waits: bool) -> Config:
        binds = [f"{self.place.volume or self.place.source}:{INSIDE}:{'ro' if asked.do in READS else 'rw'}"]
        writable = [asked.folder] + ([asked.into.parent] if asked.into is not None else [])
        for folder in writable:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return {
            "Image": self._image,
            "Entrypoint": ["python3"],
            "Cmd": ["-m", "moss.adapters.targets.state", asked.model_dump_json()],
            "User": "0:0",
            "WorkingDir": "/",
            "Labels": {HOME: self._tag, ROLE: "state"},
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "AutoRemove": not waits,
                "Binds": [*binds, *(f"{folder}:{folder}:rw" for folder in writable)],
                "NetworkMode": "none",
                "CapDrop": ["ALL"],
                "CapAdd": list(CAPABILITIES),
                "SecurityOpt": ["no-new-privileges"],
                "ReadonlyRootfs": True,
                "Tmpfs": {"/tmp": "rw,nosuid,nodev,size=64m"},  # noqa: S108
                "PidsLimit": 64,
                "LogConfig": {"Type": "local", "Config": {"max-size": "1m", "max-file": "1", "compress": "false"}},
                "RestartPolicy": {"Name": "no"},
            },
        }

    def _remove(self, name: str) -> None:
        with suppress(Gone, Conflict), self._engine.saying("the state's helper cannot be removed"):
            self._engine.api.remove_container(name, force=True)


def _answer(said: bytes) -> Answer:
    """Its last line. Raises: NoSpace, TargetError."""
    line = said.decode(errors="replace").strip().rpartition("\n")[2]
    try:
        answer = Answer.model_validate_json(line)
    except ValidationError:
        raise TargetError(f"the state's helper did not do it: {plain(line) or 'it said nothing'}") from None
    match answer.error:
        case "NoSpace":
            raise NoSpace(plain(answer.says))
        case "TargetError":
            raise TargetError(plain(answer.says))
        case None:
            return answer
