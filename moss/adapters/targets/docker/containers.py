"""Owns the steps on the containers of a live agent: looked at, made, named, started, stopped. Decides nothing.

Invariants: each step is silent where it was done before; a container is stopped only after the engine was told not to
start it again; a container is removed without its volumes.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress

from moss.dockerd import Config, Conflict, Engine, Gone, labels_filter, moment
from moss.dockerd.found import Found
from moss.dockerd.substrate import Making
from moss.domain.frozen import Frozen
from moss.domain.ids import Digest
from moss.errors import BoxRefused, TargetDown, TargetError
from moss.ports import Image


class Restart(Frozen):
    """Whether the engine starts a container again that ended."""

    name: str = "no"
    retries: int = 0

    @staticmethod
    def of(told: Config) -> "Restart":
        policy = told["HostConfig"].get("RestartPolicy") or {}
        return Restart(name=policy.get("Name") or "no", retries=policy.get("MaximumRetryCount") or 0)

    @property
    def config(self) -> Config:
        return {"Name": self.name, "MaximumRetryCount": self.retries if self.name == "on-failure" else 0}


NEVER = Restart()
LAST_LINES = 20


class Containers:
    """Those of one engine. A name or an id names one."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def look(self, name: str) -> Config | None:
        """As the engine tells it; None where there is none."""
        return self.engine.container(name)

    def labelled(self, labels: Mapping[str, str]) -> Iterator[Config]:
        """Those that carry these labels, stopped ones too."""
        with self.engine.saying("containers cannot be listed"):
            rows = self.engine.api.containers(all=True, filters=labels_filter(dict(labels)))
        for row in rows:
            if (told := self.look(row["Id"])) is not None:
                yield told

    def writers(self, source: str, but: Collection[str]) -> Iterator[Config]:
        """Those that run and may write into the folder `source` of the host, other than the ids `but`."""
        with self.engine.saying("containers cannot be listed"):
            rows = self.engine.api.containers()
        for row in rows:
            near = [
                one for one in row.get("Mounts") or () if one.get("RW") and _overlap(str(one.get("Source")), source)
            ]
            if near and row["Id"] not in but and (told := self.look(row["Id"])) is not None and runs(told):
                yield told

    def image(self, digest: str) -> Config | None:
        return self.engine.image(digest)

    def create(self, making: Making, name: str) -> str:
        """Its id. Raises: BoxRefused when its image is gone, TargetError when the name is taken, NoSpace."""
        try:
            with self.engine.saying(f"the container {name} cannot be made"):
                key = str(self.engine.api.create_container_from_config(making.config, name)["Id"])
                for network, endpoint in making.connect.items():
                    self._connect(key, network, endpoint)
                return key
        except Gone as error:
            raise BoxRefused(f"the container {name} cannot be made: {error}") from None
        except Conflict as error:
            raise TargetError(f"the container {name} cannot be made: {error}") from None

    def start(self, key: str) -> None:
        """Running is silent. Raises: BoxRefused when it is gone, TargetError when it does not start."""
        try:
            with self.engine.saying("the container does not start"):
                self.engine.api.start(key)
        except Gone as error:
            raise BoxRefused(f"the container does not start: {error}") from None
        except Conflict as error:
            raise TargetError(f"the container does not start: {error}") from None

    def stop(self, key: str, grace: float) -> None:
        """It has ended, by its own grace or killed after it, and the engine will not start it again. Gone is silent."""
        self.restart(key, NEVER)
        self.halt(key, grace)

    def halt(self, key: str, grace: float) -> None:
        """It has ended; an engine that is restarted may start it again. Gone is silent."""
        told = self.look(key)
        if told is None or not runs(told):
            return
        seconds = told["Config"].get("StopTimeout")
        with suppress(Gone), self.engine.saying("the container does not stop"):
            if told["State"].get("Paused"):
                self.engine.api.unpause(key)
            self.engine.api.stop(key, timeout=round(grace if seconds is None else seconds))

    def restart(self, key: str, policy: Restart) -> None:
        """From now on the engine starts it again so. Gone is silent."""
        told = self.look(key)
        if told is None or Restart.of(told) == policy:
            return
        with suppress(Gone), self.engine.saying("the restart policy cannot be set"):
            self.engine.api.update_container(key, restart_policy=policy.config)

    def rename(self, key: str, name: str) -> None:
        """Raises: TargetError when somebody else has the name."""
        told = self.look(key)
        if told is None or name_of(told) == name:
            return
        try:
            with self.engine.saying(f"the name {name} cannot be given"):
                self.engine.api.rename(key, name)
        except Conflict as error:
            raise TargetError(f"the name {name} cannot be given: {error}") from None

    def remove(self, key: str) -> None:
        """Its volumes stay, anonymous ones too. Absent is silent."""
        with suppress(Gone, Conflict), self.engine.saying("the container cannot be removed"):
            self.engine.api.remove_container(key, force=True, v=False)

    def last_words(self, told: Config) -> str:
        """The end of what its last start wrote; empty where the engine keeps no log of it."""
        began = moment(told["State"]["StartedAt"]).timestamp()
        with suppress(Gone, TargetDown), self.engine.saying("the log cannot be read"):
            written = self.engine.api.logs(told["Id"], tail=LAST_LINES, since=began)
            return bytes(written).decode(errors="replace")[-2000:]
        return ""

    def tag(self, digest: Digest, repository: str, tag: str) -> None:
        """Gone is silent: what runs goes on without its image."""
        with suppress(Gone), self.engine.saying(f"{repository}:{tag} cannot be moved"):
            self.engine.api.tag(digest, repository, tag, force=True)

    def _connect(self, key: str, network: str, endpoint: Config) -> None:
        """With the endpoint as it was told: the SDK's own form has no place for all of it."""
        api = self.engine.api
        url = api._url("/networks/{0}/connect", network)
        api._raise_for_status(api._post_json(url, {"Container": key, "EndpointConfig": endpoint}))


def runs(told: Config) -> bool:
    """Also one that ended and that the engine is about to start again: it may write at any moment."""
    state = told["State"]
    return bool(state.get("Running") or state.get("Restarting") or state.get("Paused"))


def name_of(told: Config) -> str:
    return str(told["Name"]).lstrip("/")


def boot_of(told: Config) -> str | None:
    """Changes with each start; None before the first one."""
    started = str(told["State"].get("StartedAt") or "")
    return None if started[:4] in ("", "0001") else f"{told['Id'][:12]} {started}"


def found_image(told: Config) -> Image:
    """An image as a target names it."""
    labels = (told.get("Config") or {}).get("Labels")
    return Found.of(told["Id"], told.get("RepoTags"), told.get("RepoDigests"), labels).image()


def networks_of(told: Config) -> tuple[str, ...]:
    """Of a container, by name, the one that it was created on first."""
    mode = str(told["HostConfig"].get("NetworkMode") or "default")
    if mode in ("host", "none") or mode.startswith("container:"):
        return (mode,)
    first = "bridge" if mode == "default" else mode
    return tuple(sorted(told["NetworkSettings"]["Networks"] or (), key=lambda name: (name != first, name)))


def mount_of(told: Config, folder: str) -> Config | None:
    """What keeps a folder of a container: the mount at it, or the nearest one above it; None: its own layer."""
    above = [one for one in told.get("Mounts") or () if beneath(folder, one["Destination"])]
    return max(above, key=lambda one: len(one["Destination"]), default=None)


def beneath(folder: str, other: str) -> bool:
    """Whether a folder is another one or in it."""
    return f"{folder.rstrip('/')}/".startswith(f"{other.rstrip('/')}/")


def _overlap(one: str, other: str) -> bool:
    """Whether one of two folders is the other or in it."""
    return beneath(one, other) or beneath(other, one)
