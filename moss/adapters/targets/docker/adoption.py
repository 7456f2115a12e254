"""Owns the one move of an agent in a container that somebody started: under MOSS, behind the hold proxy, and back.

The move costs one short stop: the old container is stopped and kept, the proxy takes its host port, a container of the
same settings on the same image and volumes starts behind it. Everything that can fail is tried before that.
Invariants: how it ran is on the disk before it is touched; each step is silent where it was done, so that a move that
was killed goes on or goes back; the old one is never deleted by MOSS, and made again from what is known of it where
somebody else deleted it.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from moss.adapters.targets.docker.compose import LIVE_TAG
from moss.adapters.targets.docker.containers import Containers, Restart
from moss.adapters.targets.docker.front import Published
from moss.adapters.targets.docker.running import Running
from moss.adapters.targets.docker.surroundings import Surroundings
from moss.config import DockerLive
from moss.daemon import durable
from moss.dockerd import Config, home_tag
from moss.dockerd.labels import COMPOSE_HASH, COMPOSE_PROJECT, HOME, ROLE
from moss.dockerd.substrate import UserSettings, container_config, user_settings
from moss.domain.frozen import Frozen
from moss.domain.ids import Digest
from moss.errors import MossError, TargetError
from moss.files import write_durably
from moss.ports import Image, Place, Probe, Readiness

LOOK = 0.05
KEPT, FRESH = "before-moss", "moss-new"


class Before(Frozen):
    """How the agent ran before MOSS: enough to bring it back, also when its container is deleted meanwhile."""

    name: str
    old: str
    """id of its container"""
    image: Digest
    settings: UserSettings
    restart: Restart
    networks: tuple[str, ...]
    published: tuple[Published, ...]
    new: str | None = None
    """id of the container that takes its place, once it is made"""
    done: bool = False


class Adoption:
    """The move of one home's agent. `around`: what stands beside it; `health`: one look at an address."""

    def __init__(
        self,
        containers: Containers,
        home: Path,
        live: DockerLive,
        around: Surroundings,
        health: Callable[[Place], Probe],
    ) -> None:
        self._containers, self._live, self._around, self._health = containers, live, around, health
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
            self._around.door.keep_alive(before.networks)
            if self._around.front is not None:
                self._around.front.prepare(self._networks(before), before.published)
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
            self._containers.restart(before.new, before.restart)
        except MossError as error:
            self.undo()
            raise TargetError(f"the move did not work ({error}); the agent runs again as before") from error
        self._kept(before.model_copy(update={"done": True}))
        if COMPOSE_PROJECT in before.settings.maps.get("Labels", {}):
            # Compose counts it as one too many and would delete it; it can be made again from what is known of it
            self._containers.remove(before.old)

    def undo(self) -> str | None:
        """The agent runs as it did before MOSS, on its own port; its container's name. None: nothing was ever moved.

        Raises: TargetError, BoxRefused when it cannot be started any more.
        """
        before = self.known()
        if before is None:
            return None
        old, now = self._containers.look(before.old), self._containers.look(before.name)
        if now is not None and now["Id"] != before.old:
            self._containers.stop(now["Id"], self._live.grace_seconds)
            self._containers.remove(now["Id"])
        self._forget(before, keep_record=True)
        if old is None:
            image, api = {"Id": before.image}, self._containers.engine.version
            made = container_config(before.settings, image, api=api, restart=before.restart.name)
            self._containers.create(made, before.name)
        else:
            self._containers.rename(before.old, before.name)
        self._containers.restart(before.name, before.restart)
        self._containers.start(before.name)
        durable.remove(self._file)
        return before.name

    # ------------------------------------------------------------------ the steps

    def _before(self, running: Running) -> Before:
        return Before(
            name=running.name,
            old=running.told["Id"],
            image=Digest(running.told["Image"]),
            settings=user_settings(_ports_fixed(running.told), running.image),
            restart=Restart.of(running.told),
            networks=running.networks,
            published=running.published(self._live.port),
        )

    def _networks(self, before: Before) -> tuple[str, ...]:
        return self._around.door.networks(before.networks)

    def _make(self, before: Before, image: Image, compose_hash: str | None) -> str:
        """The new container, not started, under a name of its own. Its id."""
        settings = before.settings
        beside = [name for name in self._networks(before) if name not in before.networks]
        endpoints = {**settings.endpoints, **{name: {} for name in beside}}
        told = self._containers.image(image.digest)
        if told is None:
            raise TargetError(f"the image {image.name} is gone")
        made = container_config(
            settings.model_copy(update={"endpoints": endpoints}),
            told,
            api=self._containers.engine.version,
            env=self._around.lent(before.networks),
            labels={HOME: self._tag, ROLE: "live", **({COMPOSE_HASH: compose_hash} if compose_hash else {})},
            unpublished=() if self._around.front is None else (f"{self._live.port}/tcp",),
        )
        if settings.repository:
            self._containers.tag(image.digest, settings.repository, LIVE_TAG)
        fresh = f"{before.name}.{FRESH}"
        self._containers.remove(fresh)
        return self._containers.create(made, fresh)

    def _exchange(self, before: Before) -> None:
        """The old one ends for good, its names and its port go over, the new one starts."""
        assert before.new is not None
        self._containers.stop(before.old, self._live.grace_seconds)
        self._containers.rename(before.old, f"{before.name}.{KEPT}")
        self._containers.rename(before.new, before.name)
        if self._around.front is not None:
            self._around.front.keep_alive(self._networks(before), before.published)
        self._containers.start(before.new)
        self._around.tell(self._around.found(before.new), lambda: before.networks)

    def _until_ready(self, before: Before) -> None:
        assert before.new is not None
        ends = time.monotonic() + self._live.start_seconds
        while True:
            told = self._containers.look(before.new)
            if told is None or not told["State"]["Running"]:
                code = "is gone" if told is None else f"ended with {told['State']['ExitCode']}"
                raise TargetError(f"its container {code}")
            address = self._around.address(told)
            if address is None:
                raise TargetError("its container has no address")
            probe = self._health(Place(address, self._live.port))
            if probe.readiness is Readiness.READY:
                return
            if time.monotonic() > ends:
                raise TargetError(f"it did not get ready in {self._live.start_seconds:g} s: {probe.detail}")
            time.sleep(LOOK)

    def _forget(self, before: Before, *, keep_record: bool = False) -> None:
        """Nothing stands beside the agent any more."""
        self._containers.remove(f"{before.name}.{FRESH}")
        self._around.stop()
        if not keep_record:
            durable.remove(self._file)

    def _kept(self, before: Before) -> Before:
        write_durably(self._file, before.model_dump_json().encode())
        return before


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
