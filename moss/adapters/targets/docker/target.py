"""Owns the swap's steps on a live agent that is a container behind the hold proxy. Decides nothing.

The old container is kept under another name, the new one gets the name that the user knows. What was done is read from
the engine (names, labels) and from the home's files, never from memory, so any step may be killed and repeated by
another controller. Invariants: last-known-good is on the disk before anything is stopped; whatever does not serve has
the restart policy `no`, and the new one too until the swap is settled, so that an engine that restarts never starts two
writers; nothing is started while a stranger writes to the state.

An agent that polls (`drain = "drain"`) is not held: it drains while it is stopped, by its own grace.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from moss.adapters.targets.docker import looks
from moss.adapters.targets.docker.adoption import Adoption, Before
from moss.adapters.targets.docker.compose import LIVE_TAG
from moss.adapters.targets.docker.containers import (
    NEVER,
    Containers,
    Restart,
    boot_of,
    found_image,
    name_of,
    networks_of,
    runs,
)
from moss.adapters.targets.docker.state import LiveState, StatePlace, place_of
from moss.adapters.targets.docker.surroundings import Surroundings, networks_asked
from moss.adapters.targets.docker.swaps import LastKnownGood, Side, Swaps
from moss.adapters.targets.docker.versions import LIVE, Versions, forgotten, kept_name, lent_variables
from moss.adapters.targets.held import answered, held, released
from moss.adapters.targets.state import tree
from moss.adapters.targets.version import Version
from moss.config import DockerLive, Settings
from moss.daemon import durable
from moss.dockerd import Config, Engine, home_tag
from moss.dockerd.labels import COMPOSE_IMAGE, HOME, ROLE
from moss.dockerd.own_start import own_start
from moss.dockerd.substrate import USERS, user_settings
from moss.domain.ids import Digest, Key
from moss.errors import BoxRefused, NoSpace, NotExpected, TargetDown
from moss.ports import Answered, Held, Image, LiveVersion, OwnStart, Place, Probe, Released, Snapshot, TurnDriver


class DockerTarget:
    """The live agent of `home`, the container `settings.live.container`. `access` gives the gateway's URL on the host
    and the live agent's token."""

    def __init__(
        self, home: Path, settings: Settings, turns: TurnDriver, access: Callable[[], tuple[str, str]]
    ) -> None:
        assert isinstance(settings.live, DockerLive)
        self._live, self._swap, self._turns = settings.live, settings.swap, turns
        self._free_bytes = settings.retention.free_bytes
        self._folder = durable.private_folder(home.absolute() / "live")
        self._tag = home_tag(home)
        self._engine = Engine(self._live.engine, TargetDown)
        self._containers = Containers(self._engine)
        self._around = Surroundings(self._containers, home, settings, self._live, lambda: access()[1])
        self._swaps = Swaps(self._folder)
        self.adoption = Adoption(self._containers, home, self._live, self._around, turns.health)

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def live(self) -> DockerLive:
        return self._live

    @property
    def own_image(self) -> str:
        """Of hold proxy and door."""
        return self._around.image

    # set up, beside the port

    def keep_alive(self) -> None:
        if self._adopted is None:
            return
        self._around.keep(self._networks())
        if (told := self._look()) is not None and runs(told):
            self._around.tell(told, self._networks)

    def rehearse(self, image: Image) -> None:
        if self._containers.image(image.digest) is None:
            raise BoxRefused(f"the image {image.name} is gone")
        self._around.lent(self._networks())

    def install(self, image: Image) -> None:
        before = self._adopted
        if before is None:
            raise TargetDown(f"the container `{self._live.container}` does not run under MOSS; mend: moss adopt")
        told = self._look()
        if told is None:
            told = self._made_again(image)
        if told["Image"] != image.digest:
            raise NotExpected(f"{found_name(told)} is what `{self._live.container}` runs, not {image.name}")
        self._around.keep(self._networks(), before.published)
        if not runs(told):
            self._no_stranger(told["Id"], self._place(), ())
            self._containers.start(told["Id"])
        self._around.tell(self._around.found(told["Id"]), self._networks)

    def shut_down(self) -> None:
        if (told := self._look()) is not None and runs(told):
            self._containers.halt(told["Id"], self._live.grace_seconds)
        self._around.stop()

    def standing(self) -> LiveVersion | None:
        before, good = self._adopted, self._swaps.newest()
        if before is None:
            return None
        try:
            return self.current()
        except TargetDown:
            # the engine is away: then nothing runs, and the home's files tell what did
            side = good.side(good.settled or good.old.version.digest) if good is not None else None
            return LiveVersion(
                side.version.image if side else Image(before.image, before.image[7:19], None), None, False
            )

    def front(self) -> tuple[str, int]:
        published = self._around.front.published() if self._around.front is not None else ()
        return (published[0].host, published[0].port) if published else self.address()

    # the port

    def current(self) -> LiveVersion:
        told = self._look()
        if told is not None:
            boot = boot_of(told) if runs(told) else None
            return LiveVersion(self._image_of(told), boot, runs(told))
        good = self._swaps.newest()
        if good is None:
            raise self._absent()
        side = good.side(good.settled) if good.settled else None
        return LiveVersion((side or good.old).version.image, None, False)

    def prepare(self, image: Image, key: Key) -> None:
        good = self._swaps.of(key)
        if good is None or good.new is None:
            told = self._look()
            if told is None or self._adopted is None:
                raise TargetDown(f"the container `{self._live.container}` does not run under MOSS; mend: moss adopt")
            self._can_be_prepared(told, image)
            good = good or self._setting_out(told, key)
            new = Side(
                version=Version.of(image),
                kept=kept_name(good.name, key, image.digest),
                env=self._around.lent(networks_asked(good.user)),
            )
            sidecars = self._sidecars(told, good.state, image)
            good = self._swaps.keep(good.model_copy(update={"new": new, "sidecars": sidecars}))
        assert good.new is not None
        self._around.keep(networks_asked(good.user))
        self._versions(good).ensure(good.new)

    def hold(self, key: Key, drain_seconds: float, deadline_seconds: float) -> Held:
        waiting = self._swap.hold_waiting
        says = self._around.ask(lambda hold: hold.hold(key, drain_seconds, deadline_seconds, waiting), self._networks)
        return held(says) if says is not None else Held(0, 0.0, True)

    def stop(self, key: Key, expected: Digest) -> None:
        told = self._look()
        if told is None:
            return
        if runs(told) and told["Image"] != expected:
            raise NotExpected(f"{self._image_of(told).name} runs, another version was to be stopped")
        good = self._swaps.of(key) or self._swaps.keep(self._setting_out(told, key))
        if runs(told) and good.new is not None and not self._versions(good).is_of(told):
            raise NotExpected(f"`{good.name}` is another container than before: somebody made it anew")
        self._containers.stop(told["Id"], self._live.grace_seconds)

    def snapshot(self, key: Key, limit_bytes: int) -> Snapshot | None:
        self._nothing_runs("a snapshot is taken while nobody writes")
        return self._state(key).take(key, limit_bytes)

    def start(self, key: Key, image: Digest) -> None:
        told, good = self._look(), self._swaps.of(key)
        if told is not None and runs(told):
            if told["Image"] != image:
                raise NotExpected(f"{self._image_of(told).name} runs, another version was to be started")
            self._around.tell(told, self._networks)
            return
        side = good.side(image) if good is not None else None
        if good is None or side is None:
            raise BoxRefused(f"{image} was not prepared for {key}")
        if side is good.new and self._containers.image(image) is None:
            raise BoxRefused(f"the image of {side.version.name} is gone")
        versions = self._versions(good)
        mine = versions.ensure(side)
        self._no_stranger(mine["Id"], good.state, good.sidecars)
        versions.name_live(side, mine)
        self._containers.restart(mine["Id"], NEVER)
        self._containers.start(mine["Id"])
        self._around.tell(self._around.found(mine["Id"]), self._networks)

    def probe(self) -> Probe:
        told = self._look()
        if told is None:
            return looks.absent(self._live.container)
        address = self._around.address(told)
        if not runs(told) or address is None:
            seen = looks.without_address(told)
        else:
            health = self._turns.health(Place(address, self._live.port))
            seen = looks.seen(told, health, lambda: self._containers.look(told["Id"]))
        return seen if seen.exit_code is None else replace(seen, said=self._containers.last_words(told))

    def address(self) -> tuple[str, int]:
        told = self._look()
        address = self._around.address(told) if told is not None and runs(told) else None
        if address is None:
            raise TargetDown("the live agent does not run")
        return (address, self._live.port)

    def release(self, key: Key) -> Released:
        if (told := self._look()) is not None and runs(told):
            self._around.tell(told, self._networks)
        says = self._around.ask(lambda hold: hold.release(key), self._networks)
        return released(says) if says is not None else Released(0, 0.0, 0)

    def answered(self, key: Key) -> Sequence[Answered]:
        return answered(self._around.ask(lambda hold: hold.answered(key), self._networks) or ())

    def restore_state(self, key: Key) -> None:
        self._nothing_runs("the state is not exchanged under it")
        self._state(key).restore(key)

    def settle(self, key: Key, soaks: bool = False) -> None:
        good, told = self._swaps.of(key), self._look()
        if good is not None and told is not None:
            self._containers.restart(told["Id"], good.restart)
            self._swaps.update(good.model_copy(update={"settled": Digest(told["Image"])}))
            self._drop_what_compose_counts(good, told)
        if not soaks:
            self._around.ask(lambda hold: hold.settle(key), self._networks)
            if good is not None and told is not None and good.user.repository:
                self._containers.tag(Digest(told["Image"]), good.user.repository, LIVE_TAG)
        self._state(key).settle(key)

    def state_copy(self, into: Path) -> None:
        self._state().copy(into)

    def own_start(self) -> OwnStart:
        told, good = self._look(), self._swaps.newest()
        if told is not None:
            return own_start(user_settings(told, self._containers.image(told["Image"]) or {}), self._live)
        if good is None:
            raise self._absent()
        return own_start(good.user, self._live)

    def evidence_root(self) -> Path:
        return self._state().readable()

    def forget(self, key: Key) -> None:
        """With the swaps of the same run before it: what an undo took back cannot be taken back again."""
        self._state(key).forget(key)
        run, all_of = key.partition("/")[0], list(self._swaps.all())
        over = [good for good in all_of if good.key.partition("/")[0] == run]
        before = self.adoption.known()
        needed = {side.id for good in all_of if good not in over for side in good.sides if side.id}
        needed |= {before.old} if before is not None else set()
        for good in over:
            self._state(good.key).forget(good.key)
            for one in list(forgotten(self._containers, self._tag, good, needed)):
                self._containers.remove(one)
            self._swaps.drop(good.key)

    # inside

    @property
    def _adopted(self) -> Before | None:
        """How it ran before the move that brought it under MOSS; None before that move is whole."""
        before = self.adoption.known()
        return before if before is not None and before.done else None

    def _look(self) -> Config | None:
        return self._containers.look(self._live.container)

    def _absent(self) -> TargetDown:
        return TargetDown(f"there is no container `{self._live.container}`; mend: live.container, or start it")

    def _versions(self, good: LastKnownGood) -> Versions:
        return Versions(self._containers, self._tag, good)

    def _image_of(self, told: Config) -> Image:
        """By its id also where the image itself is gone."""
        found = self._containers.image(told["Image"])
        if found is not None:
            return found_image(found)
        good = self._swaps.newest()
        side = good.side(Digest(told["Image"])) if good is not None else None
        return side.version.image if side is not None else Image(Digest(told["Image"]), found_name(told), None)

    def _networks(self) -> tuple[str, ...]:
        told, good = self._look(), self._swaps.newest()
        if told is not None:
            return networks_of(told)
        if good is None:
            raise self._absent()
        return networks_asked(good.user)

    def _setting_out(self, told: Config, key: Key) -> LastKnownGood:
        """From what has the user's name now."""
        image = self._containers.image(told["Image"])
        if image is None and USERS not in (told["Config"].get("Labels") or {}):
            raise BoxRefused(f"the image of `{self._live.container}` is gone: nothing tells what of it is its user's")
        place = place_of(told, self._live.state)
        if place is None:
            raise BoxRefused(f"{self._live.state} of `{self._live.container}` is on no volume: a swap would lose it")
        policy, newest = Restart.of(told), self._swaps.newest()
        if policy == NEVER and newest is not None and newest.settled is None and self._versions(newest).is_of(told):
            policy = newest.restart  # a swap that never came to its end took it away
        old = Side(
            version=Version.of(self._image_of(told)),
            kept=kept_name(self._live.container, key, Digest(told["Id"])),
            id=told["Id"],
            env=lent_variables(told),
        )
        return LastKnownGood(
            key=key,
            name=self._live.container,
            user=user_settings(told, image or {}),
            restart=policy,
            state=place,
            old=old,
        )

    def _can_be_prepared(self, told: Config, image: Image) -> None:
        if self._containers.image(image.digest) is None:
            raise BoxRefused(f"the image {image.name} is gone")
        if told["HostConfig"].get("AutoRemove"):
            raise BoxRefused(f"`{self._live.container}` was started with --rm: the engine deletes it when it stops")
        if tree.free(self._folder) < self._free_bytes:
            raise NoSpace(f"less than {self._free_bytes} bytes are free at {self._folder}")

    def _sidecars(self, told: Config, place: StatePlace, image: Image) -> tuple[str, ...]:
        """Containers that write beside the agent, as they always did. Raises: NotExpected for another agent."""
        found = list(self._containers.writers(str(place.folder), {told["Id"]}))
        for one in found:
            labels = one["Config"].get("Labels") or {}
            ours = (labels.get(HOME), labels.get(ROLE)) == (self._tag, LIVE)
            if ours or one["Image"] in (told["Image"], image.digest):
                raise NotExpected(f"`{name_of(one)}` runs on the same state: two agents would write to it")
        return tuple(one["Id"] for one in found)

    def _no_stranger(self, mine: str, place: StatePlace, sidecars: Sequence[str]) -> None:
        for one in self._containers.writers(str(place.folder), {mine, *sidecars}):
            raise NotExpected(f"`{name_of(one)}` runs on the same state: two would write to it")

    def _nothing_runs(self, because: str) -> None:
        told = self._look()
        if told is not None and runs(told):
            raise NotExpected(f"{self._image_of(told).name} runs: {because}")

    def _place(self, key: Key | None = None) -> StatePlace:
        good = (self._swaps.of(key) if key is not None else None) or self._swaps.newest()
        told = self._look()
        place = place_of(told, self._live.state) if told is not None else None
        found = place or (good.state if good is not None else None)
        if found is None:
            raise TargetDown(f"there is no container `{self._live.container}` with {self._live.state} on a volume")
        return found

    def _state(self, key: Key | None = None) -> LiveState:
        return LiveState(self._engine, self._tag, self._folder, self._around.image, self._place(key))

    def _made_again(self, image: Image) -> Config:
        """The live container, deleted by hand, as the last swap knew it. Raises: TargetDown."""
        good = self._swaps.newest()
        side = good.side(image.digest) if good is not None else None
        if good is None or side is None:
            raise TargetDown(f"there is no container `{self._live.container}`, and nothing is known to make it of")
        versions = self._versions(good)
        made = versions.ensure(side)
        versions.name_live(side, made)
        self._containers.restart(made["Id"], good.restart)
        return made

    def _drop_what_compose_counts(self, good: LastKnownGood, live: Config) -> None:
        """Compose would take a kept container of its project for one too many. It can be made again from the record."""
        if COMPOSE_IMAGE not in good.user.maps.get("Labels", {}):
            return
        for side in good.sides:
            told = self._versions(good).find(side)
            if told is not None and told["Id"] != live["Id"] and not runs(told):
                self._containers.remove(told["Id"])


def found_name(told: Config) -> str:
    """The image's name as the container was told it."""
    return str(told["Config"]["Image"])
