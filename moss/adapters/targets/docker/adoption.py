"""Owns the one move of an agent in a container that somebody started: under MOSS, behind the hold proxy, and back.

The move costs one short stop: the old container is stopped and kept, the proxy takes its host port, a container of the
same settings on the same image and volumes starts behind it. Everything that can fail is tried before that.
Invariants: how it ran is on the disk before it is touched; each step is silent where it was done, so that a move that
was killed goes on or goes back; the old one is never deleted by MOSS, and made again from what is known of it where
somebody else deleted it.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from moss.adapters.targets.docker.compose import HASH, LIVE_TAG, PROJECT
from moss.adapters.targets.docker.door import Door
from moss.adapters.targets.docker.front import Front, Published
from moss.adapters.targets.docker.own import HOME, ROLE
from moss.adapters.targets.docker.running import Running
from moss.config import DockerLive
from moss.daemon import durable
from moss.dockerd import Conflict, Engine, Gone, home_tag
from moss.dockerd.substrate import Making, UserSettings, container_config, user_settings
from moss.domain.frozen import Frozen
from moss.domain.ids import Digest
from moss.errors import MossError, TargetError
from moss.files import write_durably
from moss.hold.words import Backend
from moss.ports import Image, Place, Probe, Readiness

LOOK = 0.05
KEPT, FRESH = "before-moss", "moss-new"
Config = dict[str, Any]
"""The engine's own form."""


class Before(Frozen):
    """How the agent ran before MOSS: enough to bring it back, also when its container is deleted meanwhile."""

    name: str
    old: str
    """id of its container"""
    image: Digest
    settings: UserSettings
    restart: str
    retries: int
    networks: tuple[str, ...]
    published: tuple[Published, ...]
    new: str | None = None
    """id of the container that takes its place, once it is made"""
    done: bool = False


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside the agent. `front` None: it polls, nothing is held. `health`: one look at an address."""

    front: Front | None
    door: Door
    health: Callable[[Place], Probe]
    env: Callable[[tuple[str, ...]], dict[str, str]]
    """the variables that MOSS sets in an agent on these networks"""


class Adoption:
    """The move of one home's agent."""

    def __init__(self, engine: Engine, home: Path, live: DockerLive, beside: Beside) -> None:
        self._engine, self._live, self._beside = engine, live, beside
        self._tag = home_tag(home)
        self._file = durable.private_folder(home.absolute() / "live") / "adoption.json"

    def known(self) -> Before | None:
        """The move that was begun here, or done. Raises: TargetError."""
        data = durable.read(self._file)
        try:
            return None if data is None else Before.model_validate_json(data)
        except ValidationError as error:
            raise TargetError(f"{self._file} cannot be read: {error.error_count()} errors") from error

    def adopt(self, running: Running, image: Image, compose_hash: str | None = None) -> None:
        """`running` is stopped, and the same on `image` (whose files are the same, see `moss adopt`) serves instead.

        Raises: whatever stops the move before the old one was touched; TargetError when it failed later, and the old
        one runs again.
        """
        before = self._before(running)
        self._kept(before)
        try:
            self._beside.door.keep_alive(before.networks)
            if self._beside.front is not None:
                self._beside.front.prepare(self._networks(before), before.published)
            before = self._kept(before.model_copy(update={"new": self._make(before, image, compose_hash)}))
        except MossError:
            self._forget(before)
            raise
        self.go_on(before)

    def go_on(self, before: Before) -> None:
        """From wherever a move stands, to its end. Raises: TargetError: the old one runs again."""
        if before.new is None:
            self._forget(before)
            raise TargetError("the move had not begun to touch the agent; start it again: moss adopt")
        try:
            self._exchange(before)
            self._until_ready(before)
            # not before: one that dies would be started over and over, and be seen running
            self._restart(before.new, before.restart, before.retries)
        except MossError as error:
            self.undo()
            raise TargetError(f"the move did not work ({error}); the agent runs again as before") from error
        self._kept(before.model_copy(update={"done": True}))
        if PROJECT in before.settings.maps.get("Labels", {}):
            # Compose counts it as one too many and would delete it; it can be made again from what is known of it
            self._remove(before.old)

    def undo(self) -> str | None:
        """The agent runs as it did before MOSS, on its own port; its container's name. None: nothing was ever moved.

        Raises: TargetError when it cannot be started any more.
        """
        before = self.known()
        if before is None:
            return None
        old, now = self._look(before.old), self._look(before.name)
        if now is not None and now["Id"] != before.old:
            self._end(now["Id"])
            self._remove(now["Id"])
        self._forget(before, keep_record=True)
        if old is None:
            made = container_config(
                before.settings, {"Id": before.image}, api=self._api(), restart=before.restart
            )  # fmt: skip
            self._create(made, before.name)
        elif old["Name"] != f"/{before.name}":
            with self._engine.saying("the old container cannot get its name back"):
                self._engine.api.rename(before.old, before.name)
        self._restart(before.name, before.restart, before.retries)
        self._start(before.name)
        durable.remove(self._file)
        return before.name

    # ------------------------------------------------------------------ the steps

    def _before(self, running: Running) -> Before:
        policy = running.told["HostConfig"].get("RestartPolicy") or {}
        return Before(
            name=running.name,
            old=running.told["Id"],
            image=Digest(running.told["Image"]),
            settings=user_settings(_ports_fixed(running.told), running.image),
            restart=policy.get("Name") or "no",
            retries=policy.get("MaximumRetryCount") or 0,
            networks=running.networks,
            published=running.published(self._live.port),
        )

    def _networks(self, before: Before) -> tuple[str, ...]:
        return self._beside.door.networks(before.networks)

    def _make(self, before: Before, image: Image, compose_hash: str | None) -> str:
        """The new container, not started, under a name of its own. Its id."""
        settings = before.settings
        beside = [name for name in self._networks(before) if name not in before.networks]
        endpoints = {**settings.endpoints, **{name: {} for name in beside}}
        with self._engine.saying(f"the image {image.name} cannot be looked at"):
            told = self._engine.api.inspect_image(image.digest)
        made = container_config(
            settings.model_copy(update={"endpoints": endpoints}),
            told,
            api=self._api(),
            env=self._beside.env(before.networks),
            labels={HOME: self._tag, ROLE: "live", **({HASH: compose_hash} if compose_hash else {})},
            unpublished=() if self._beside.front is None else (f"{self._live.port}/tcp",),
        )
        if settings.repository:
            with self._engine.saying("the image that is live cannot be tagged"):
                self._engine.api.tag(image.digest, settings.repository, LIVE_TAG)
        fresh = f"{before.name}.{FRESH}"
        self._remove(fresh)
        return self._create(made, fresh)

    def _exchange(self, before: Before) -> None:
        """The old one ends for good, its names and its port go over, the new one starts."""
        assert before.new is not None
        self._end(before.old)
        self._rename(before.old, f"{before.name}.{KEPT}")
        self._rename(before.new, before.name)
        if self._beside.front is not None:
            self._beside.front.keep_alive(self._networks(before), before.published)
        self._start(before.new)
        if self._beside.front is not None:
            host = self._address(before)
            self._beside.front.client.backend(Backend(host=host, port=self._live.port, boot=self._boot(before)))

    def _until_ready(self, before: Before) -> None:
        assert before.new is not None
        ends = time.monotonic() + self._live.start_seconds
        while True:
            told = self._look(before.new)
            if told is None or not told["State"]["Running"]:
                code = "is gone" if told is None else f"ended with {told['State']['ExitCode']}"
                raise TargetError(f"its container {code}")
            probe = self._beside.health(Place(self._address(before), self._live.port))
            if probe.readiness is Readiness.READY:
                return
            if time.monotonic() > ends:
                raise TargetError(f"it did not get ready in {self._live.start_seconds:g} s: {probe.detail}")
            time.sleep(LOOK)

    def _address(self, before: Before) -> str:
        """Where the new one is, on a network of the person's own."""
        told = self._look(before.new or before.name)
        joined = {} if told is None else told["NetworkSettings"]["Networks"]
        if before.networks == ("host",):
            return "127.0.0.1"
        for name in before.networks:
            if address := (joined.get(name) or {}).get("IPAddress"):
                return str(address)
        raise TargetError("its container has no address")

    def _boot(self, before: Before) -> str:
        told = self._look(before.new or before.name)
        return "" if told is None else f"{told['Id'][:12]} {told['State']['StartedAt']}"

    def _forget(self, before: Before, *, keep_record: bool = False) -> None:
        """Nothing stands beside the agent any more."""
        self._remove(f"{before.name}.{FRESH}")
        if self._beside.front is not None:
            self._beside.front.stop()
        self._beside.door.stop()
        if not keep_record:
            durable.remove(self._file)

    def _kept(self, before: Before) -> Before:
        write_durably(self._file, before.model_dump_json().encode())
        return before

    # ------------------------------------------------------------------ the engine

    def _api(self) -> tuple[int, ...]:
        with self._engine.saying("the engine cannot be asked"):
            return tuple(int(part) for part in self._engine.api.api_version.split("."))

    def _look(self, name: str) -> Config | None:
        try:
            with self._engine.saying(f"the container {name} cannot be looked at"):
                told: Config = self._engine.api.inspect_container(name)
                return told
        except Gone:
            return None

    def _create(self, made: Making, name: str) -> str:
        try:
            with self._engine.saying(f"the container {name} cannot be made"):
                key = str(self._engine.api.create_container_from_config(made.config, name)["Id"])
                for network, endpoint in made.connect.items():
                    self._engine.api.connect_container_to_network(key, network, aliases=endpoint.get("Aliases"))
                return key
        except (Gone, Conflict) as error:
            raise TargetError(f"the container {name} cannot be made: {error}") from None

    def _end(self, key: str) -> None:
        """Stopped by its own grace, and it does not come back by itself. Gone is silent."""
        told = self._look(key)
        if told is None:
            return
        self._restart(key, "no", 0)
        grace = told["Config"].get("StopTimeout") or self._live.grace_seconds
        with suppress(Gone), self._engine.saying("the container does not stop"):
            self._engine.api.stop(key, timeout=int(grace))

    def _start(self, key: str) -> None:
        try:
            with self._engine.saying("the container does not start"):
                self._engine.api.start(key)
        except (Gone, Conflict) as error:
            raise TargetError(f"the container does not start: {error}") from None

    def _restart(self, key: str, policy: str, retries: int) -> None:
        """From now on the engine starts it again, or does not."""
        told = {"Name": policy, "MaximumRetryCount": retries if policy == "on-failure" else 0}
        with suppress(Gone), self._engine.saying("the restart policy cannot be set"):
            self._engine.api.update_container(key, restart_policy=told)

    def _rename(self, key: str, name: str) -> None:
        """Silent where it has the name."""
        told = self._look(key)
        if told is not None and told["Name"] != f"/{name}":
            with self._engine.saying(f"the name {name} cannot be given"):
                self._engine.api.rename(key, name)

    def _remove(self, key: str) -> None:
        """Its volumes stay. Absent is silent."""
        with suppress(Gone, Conflict), self._engine.saying("the container cannot be removed"):
            self._engine.api.remove_container(key, force=True)


def _ports_fixed(told: Config) -> Config:
    """Host ports that were left to the engine stay those that they are at this moment."""
    host = told["HostConfig"]
    bound = told["NetworkSettings"].get("Ports") or {}
    asked = host.get("PortBindings") or {}
    ports = {
        port: [_fixed(one, found, asked.get(port) or ()) for one in found] if found else asked.get(port)
        for port, found in {**asked, **bound}.items()
        for found in [bound.get(port)]
        if found or port in asked
    }
    return {**told, "HostConfig": {**host, "PublishAllPorts": False, "PortBindings": ports}}


def _fixed(one: Config, found: list[Config], asked: Sequence[Config]) -> Config:
    """A bound port as it was asked for, where that names it; else by the address and number that it has now."""
    same = (binding for binding in asked if binding.get("HostPort") == one["HostPort"] and len(found) == len(asked))
    return next(same, {"HostIp": one["HostIp"], "HostPort": one["HostPort"]})
