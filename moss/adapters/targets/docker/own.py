"""Owns MOSS's own containers beside the live agent: made, kept running, joined to networks, removed.

They run on MOSS's image as MOSS's user, with no capability, a read-only root and bounds. Never decides what is in one.
Invariants: what is asked for twice is made once; a container that runs as asked is left alone, whatever its image.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from moss.dockerd import Config, Conflict, Engine, Gone, moment, plain
from moss.dockerd.labels import HOME, ROLE
from moss.errors import TargetDown

ASKED = "moss.dev/asked"
TRIES = 5
"""another starter, or somebody's `docker rm`, may come in between"""
END_SECONDS = 5
NAMELESS = frozenset(("bridge", "default"))
"""networks of the engine on which there are no names"""
TAKEN = re.compile(r"port is already allocated|address already in use", re.I)


@dataclass(frozen=True, slots=True)
class Own:
    """What one of them is asked to be. `mounts`: folders of this host, under the same path inside, writable or not.
    `ports`: the engine's own PortBindings. `alias`: its name on networks that have names."""

    role: str
    image: str
    argv: tuple[str, ...]
    mounts: Mapping[Path, bool]
    alias: str
    memory_bytes: int
    inside: int
    ports: tuple[tuple[str, int], ...] = ()

    def config(self, home_tag: str) -> Config:
        """The whole of it but its networks."""
        return {
            "Image": self.image,
            "Entrypoint": [self.argv[0]],
            "Cmd": list(self.argv[1:]),
            "User": f"{os.geteuid()}:{os.getegid()}",
            "WorkingDir": "/",
            "Healthcheck": {"Test": ["NONE"]},
            "StopSignal": "SIGTERM",
            "ExposedPorts": {f"{self.inside}/tcp": {}},
            "Labels": {HOME: home_tag, ROLE: self.role, ASKED: self.asked},
            "HostConfig": self._host(),
        }

    @property
    def asked(self) -> str:
        """Tells one that was asked to be otherwise. Not by its image: a new MOSS cuts no connection."""
        told = [*self.argv, *map(str, self.mounts), *map(str, self.ports), os.geteuid()]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def _host(self) -> Config:
        binding = [{"HostIp": host, "HostPort": str(port)} for host, port in self.ports]
        return {
            "Mounts": [
                {"Type": "bind", "Source": str(path), "Target": str(path), "ReadOnly": not writable}
                for path, writable in self.mounts.items()
            ],
            "PortBindings": {f"{self.inside}/tcp": binding} if binding else {},
            "RestartPolicy": {"Name": "always"},
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "Memory": self.memory_bytes,
            "MemorySwap": self.memory_bytes,
            "PidsLimit": 64,
            "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
            "LogConfig": {"Type": "local", "Config": {"max-size": "2m", "max-file": "2", "compress": "false"}},
            "IpcMode": "private",
        }


class OwnContainer:
    """One of them, by its name on the engine."""

    def __init__(self, engine: Engine, home_tag: str, role: str) -> None:
        self._engine, self._tag = engine, home_tag
        self.name = f"moss-{home_tag}-{role}"

    def keep(self, own: Own, networks: Sequence[str]) -> bool:
        """It runs as asked, on `networks` and no other, when this returns; whether it had to be started.

        Raises: TargetDown: the image or a network is not there, or a port is taken.
        """
        why = ""
        for _ in range(TRIES):
            found = self.found()
            if found is not None and found["Config"]["Labels"].get(ASKED) != own.asked:
                self.remove()
                found = None
            try:
                if found is None:
                    found = self._made(own, networks)
                self._join(found, own.alias, networks)
                if found["State"]["Running"]:
                    return False
                self.start()
                return True
            except Conflict as error:
                why = str(error)
            except Gone as error:
                # itself, or a network that it was made on
                why = str(error)
                self.remove()
        raise TargetDown(f"{self.name} cannot be kept: {why}")

    def prepare(self, own: Own, networks: Sequence[str]) -> None:
        """It is there, so that a start takes a moment. Raises: as `keep`."""
        with suppress(Conflict):
            if self.found() is None:
                self._join(self._made(own, networks), own.alias, networks)

    def start(self) -> None:
        """As it was made. Raises: TargetDown, with who to ask when its port is taken; Gone."""
        try:
            with self._engine.saying(f"{self.name} does not start"):
                self._engine.api.start(self.name)
        except TargetDown as error:
            if TAKEN.search(str(error)) is None:
                raise
            mend = "docker ps, ss -ltnp: who has it"
            raise TargetDown(f"{self.name} does not start: the port {self._port()} is taken (mend: {mend})") from None

    def image_is(self, name: str) -> bool:
        """Whether it was made from the image that `name` means now."""
        found, image = self.found(), self._engine.image(name)
        return found is not None and image is not None and found["Image"] == image["Id"]

    def found(self) -> Config | None:
        """As the engine tells it; None when there is none."""
        return self._engine.container(self.name)

    def runs(self) -> bool:
        found = self.found()
        return found is not None and bool(found["State"]["Running"])

    def addresses(self) -> dict[str, str]:
        """Network -> its address there, while it runs."""
        found = self.found()
        joined = {} if found is None else found["NetworkSettings"]["Networks"]
        return {name: one["IPAddress"] for name, one in joined.items() if one["IPAddress"]}

    def remove(self) -> None:
        """Ended and gone when this returns. Absent is silent."""
        with suppress(Gone), self._engine.saying(f"{self.name} cannot be removed"):
            self._engine.api.stop(self.name, timeout=END_SECONDS)
        with suppress(Gone, Conflict), self._engine.saying(f"{self.name} cannot be removed"):
            self._engine.api.remove_container(self.name, force=True)

    def said(self, line: str) -> bool:
        """Whether it wrote this line since its last start."""
        found = self.found()
        if found is None or not found["State"]["Running"]:
            return False
        since = moment(found["State"]["StartedAt"]).timestamp()
        with suppress(Gone), self._engine.saying(f"{self.name} cannot be read"):
            written: bytes = self._engine.api.logs(self.name, since=since)
            return line.encode() in written.splitlines()
        return False

    def says(self) -> str:
        """The last line that it wrote."""
        with suppress(Gone), self._engine.saying(f"{self.name} cannot be read"):
            written = self._engine.api.logs(self.name, tail=1)
            return plain(written.decode(errors="replace")) or "nothing"
        return "nothing"

    def _port(self) -> str:
        found = self.found()
        bindings = {} if found is None else found["HostConfig"]["PortBindings"]
        return ", ".join(f"{one['HostIp']}:{one['HostPort']}" for each in bindings.values() for one in each)

    def _made(self, own: Own, networks: Sequence[str]) -> Config:
        """Created on the first network alone: older engines take no more at once."""
        if not networks:
            raise TargetDown(f"{self.name}: the agent is on no network that a proxy could stand on")
        config = own.config(self._tag)
        config["HostConfig"]["NetworkMode"] = networks[0]
        config["NetworkingConfig"] = {"EndpointsConfig": {networks[0]: _endpoint(networks[0], own.alias)}}
        try:
            with self._engine.saying(f"{self.name} cannot be made"):
                self._engine.api.create_container_from_config(config, self.name)
        except Gone as error:
            raise self._missing(own.image, str(error)) from None
        found = self.found()
        if found is None:
            raise Gone(self.name)
        return found

    def _missing(self, image: str, words: str) -> TargetDown:
        if "image" in words.lower():
            mend = (
                f"scripts/images in MOSS's repository makes it; or docker pull {image}; or name one: live.front_image"
            )
            return TargetDown(f"the image {image} of MOSS's own containers is not on the engine (mend: {mend})")
        return TargetDown(f"{self.name} cannot be made: {words}")

    def _join(self, found: Config, alias: str, networks: Sequence[str]) -> None:
        joined = set(found["NetworkSettings"]["Networks"])
        for name in networks:
            if name not in joined:
                with suppress(Conflict), self._engine.saying(f"{self.name} cannot join the network {name}"):
                    self._engine.api.connect_container_to_network(
                        self.name, name, aliases=_endpoint(name, alias).get("Aliases")
                    )
        for name in joined - set(networks):
            with suppress(Gone, Conflict), self._engine.saying(f"{self.name} cannot leave the network {name}"):
                self._engine.api.disconnect_container_from_network(self.name, name, force=True)


def _endpoint(network: str, alias: str) -> Config:
    return {} if network in NAMELESS else {"Aliases": [alias]}
