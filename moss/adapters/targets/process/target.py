"""Owns the swap's steps on a live agent that is a supervised process behind the hold proxy. Decides nothing.

What was done is read from the supervisor, the proxy and the disk, never from memory, so any step may be repeated by
another controller. Invariant: last-known-good is on the disk, in MOSS's own folder, before anything is stopped.

An agent that polls (`drain = "drain"`) is not held: its messages do not come through the proxy. It drains while it
is stopped, by its own grace; `hold` says so by doing nothing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from moss.adapters.targets.held import answered, held, released
from moss.adapters.targets.process import agent_log
from moss.adapters.targets.process.client import SupervisorClient
from moss.adapters.targets.process.home import SupervisorHome
from moss.adapters.targets.process.ward import environment
from moss.adapters.targets.process.words import Agent, Record, Restart, Spec, Version
from moss.adapters.targets.state import running_copy, tree
from moss.adapters.targets.state.snapshots import Snapshots
from moss.config import ProcessLive, Settings
from moss.daemon import durable, lock
from moss.domain.frozen import Frozen
from moss.domain.ids import Digest, Key
from moss.domain.launch import fill, fill_all, launch
from moss.errors import BoxRefused, NoSpace, NotExpected, TargetDown, TargetError
from moss.files import write_durably
from moss.hold import launch as hold_launch
from moss.hold.client import HoldClient
from moss.hold.options import HoldOptions
from moss.hold.words import Backend
from moss.ports import Answered, Held, Image, LiveVersion, Place, Probe, Readiness, Released, Snapshot, TurnDriver

T = TypeVar("T")

LAST_BREATH = 0.3
"""seconds in which an agent that broke off under a look is expected to end: how it ended says more than that"""


class LastKnownGood(Frozen):
    """What a swap set out from and to. Written once for a swap, never changed by what it does then."""

    key: Key
    old: Spec
    new: Spec
    restart: Restart


class ProcessTarget:
    """The live agent of `home`. `images` gives the tree of an image or raises BoxRefused, `access` the gateway's URL
    and the live agent's token."""

    def __init__(
        self,
        home: Path,
        settings: Settings,
        turns: TurnDriver,
        images: Callable[[Digest], Path],
        access: Callable[[], tuple[str, str]],
    ) -> None:
        assert isinstance(settings.live, ProcessLive)
        self._live, self._swap, self._turns = settings.live, settings.swap, turns
        self._images, self._access = images, access
        self._free_bytes = settings.retention.free_bytes
        self.state = settings.path(settings.live.state).resolve()
        self.home = SupervisorHome(home.absolute() / "live")
        self.options = hold_options(home.absolute(), settings)
        self._supervisor = SupervisorClient(self.home, self.options.folder)
        self._hold = HoldClient(self.options.folder)
        self._snapshots = Snapshots(self.home.folder / "snapshots", self.state)

    # set up, beside the port

    def keep_alive(self) -> None:
        """Supervisor and hold proxy run, and the proxy knows where the agent is; silent where it is so.

        Raises: TargetDown when one of them does not start: its port is taken.
        """
        hold_launch.start(self.options)
        self._supervisor.launch()
        agent, status = self._record().agent, self._hold.status()
        if agent is not None and (status.backend is None or status.backend.boot != agent.boot):
            self._hold.backend(Backend(host="127.0.0.1", port=agent.port, boot=agent.boot))

    def install(self, image: Image) -> None:
        """The first start of a version, from now on started again whenever it ends. Already running it is silent.

        Raises: NotExpected when another one runs, BoxRefused, GatewayDown, TargetDown.
        """
        self.state.mkdir(parents=True, exist_ok=True)
        self.keep_alive()
        self._supervisor.start(self._new_spec(image), Restart.ALWAYS)

    def rehearse(self, image: Image) -> None:
        """All that a first start needs is there: the tree, the gateway, the supervisor. Nothing is started.

        Raises: BoxRefused, GatewayDown, TargetDown.
        """
        self._new_spec(image)
        self._supervisor.launch()

    @property
    def grace_seconds(self) -> float:
        return self._live.grace_seconds

    def shut_down(self) -> None:
        """The agent, its supervisor and the proxy have ended when this returns. For a demo's end, and undo."""
        self._supervisor.stop(None, self._live.grace_seconds)
        self._supervisor.quit()
        hold_launch.stop(self.options)

    def standing(self) -> LiveVersion | None:
        record = self.home.read()
        version = record.agent.version if record.agent else record.spec.version if record.spec else None
        runs = record.agent is not None and not lock.is_free(self.home.agent_lock)
        boot = record.agent.boot if record.agent is not None and runs else None
        return None if version is None else LiveVersion(version.image, boot, runs)

    def front(self) -> tuple[str, int]:
        return (self._live.host, self._live.port)

    # the port

    def current(self) -> LiveVersion:
        record = self._record()
        if record.agent is not None:
            return LiveVersion(record.agent.version.image, record.agent.boot, True)
        if record.spec is None:
            raise TargetDown("no version of the agent was ever started here; mend: moss adopt")
        return LiveVersion(record.spec.version.image, None, False)

    def prepare(self, image: Image, key: Key) -> None:
        if (good := self._last_known_good()) is not None and good.key == key:
            return
        record = self._record()
        if record.spec is None:
            raise TargetDown("no version of the agent was ever started here; mend: moss adopt")
        if self.state.is_mount():
            raise BoxRefused(f"{self.state} is a mount point, it cannot be exchanged; mend: name a folder below it")
        if tree.free(self.home.folder) < self._free_bytes:
            raise NoSpace(f"less than {self._free_bytes} bytes are free at {self.home.folder}")
        fresh = LastKnownGood(key=key, old=record.spec, new=self._new_spec(image), restart=record.restart)
        write_durably(self._good_file, fresh.model_dump_json().encode())

    def hold(self, key: Key, drain_seconds: float, deadline_seconds: float) -> Held:
        if self._live.drain == "drain":
            return Held(0, 0.0, True)
        waiting = self._swap.hold_waiting
        return held(self._front(lambda hold: hold.hold(key, drain_seconds, deadline_seconds, waiting)))

    def stop(self, key: Key, expected: Digest) -> None:
        self._supervisor.stop(expected, self._live.grace_seconds)

    def snapshot(self, key: Key, limit_bytes: int) -> Snapshot | None:
        self._nothing_runs("a snapshot is taken while nobody writes")
        return self._snapshots.take(key, limit_bytes)

    def start(self, key: Key, image: Digest) -> None:
        agent = self._record().agent
        if agent is not None and agent.version.digest == image:
            return
        self._images(image)
        self._supervisor.start(self._spec(key, image), Restart.NO)

    def probe(self) -> Probe:
        record = self._record()
        agent = record.agent
        if agent is None:
            return self._last_look(record)
        health = self._turns.health(Place("127.0.0.1", agent.port))
        if health.readiness is Readiness.FAILED and (after := self._dying()) is not None:
            return self._last_look(after)
        return Probe(health.readiness, agent.boot, health.detail)

    def _last_look(self, record: Record) -> Probe:
        return replace(_ended(record), said=agent_log.last_words(self.home.agent_log))

    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self._agent().port)

    def release(self, key: Key) -> Released:
        return released(self._front(lambda hold: hold.release(key)))

    def answered(self, key: Key) -> Sequence[Answered]:
        return answered(self._front(lambda hold: hold.answered(key)))

    def restore_state(self, key: Key) -> None:
        self._nothing_runs("the state is not exchanged under it")
        try:
            self._snapshots.restore(key)
        except OSError as error:
            raise TargetError(f"{self.state}: the snapshot cannot be put in its place ({error.strerror})") from error

    def settle(self, key: Key, soaks: bool = False) -> None:
        good = self._last_known_good()
        before = good.restart if good is not None and good.key == key else Restart.ALWAYS
        self._supervisor.set_restart(before)
        if not soaks:
            self._front(lambda hold: hold.settle(key))
        self._snapshots.settle(key)

    def state_copy(self, into: Path) -> None:
        size = tree.measure(self.state)
        if tree.free(into) < size:
            raise NoSpace(f"a copy of the state takes {size} bytes, {tree.free(into)} are free at {into}")
        running_copy.copy(self.state, into)

    def own_start(self) -> None:
        return None

    def evidence_root(self) -> Path:
        return self.state

    def forget(self, key: Key) -> None:
        self._snapshots.forget(key)

    # inside

    def _record(self) -> Record:
        return self._supervisor.status()

    def _agent(self) -> Agent:
        agent = self._record().agent
        if agent is None:
            raise TargetDown("the live agent does not run")
        return agent

    def _dying(self) -> Record | None:
        """The record of an agent that ended under the look: its connections end a moment before it does."""
        until = time.monotonic() + LAST_BREATH
        while (record := self._record()).agent is not None:
            if time.monotonic() >= until:
                return None
            time.sleep(LAST_BREATH / 10)
        return record

    def _nothing_runs(self, because: str) -> None:
        agent = self._record().agent
        if agent is not None:
            raise NotExpected(f"{agent.version.name} runs: {because}")

    def _front(self, ask: Callable[[HoldClient], T]) -> T:
        """Asks the proxy; one that is away is started first, and goes on with what it was doing."""
        try:
            return ask(self._hold)
        except TargetDown:
            hold_launch.start(self.options)
            return ask(self._hold)

    def _spec(self, key: Key, image: Digest) -> Spec:
        """As it was prepared: what was live before comes back exactly as it was."""
        good = self._last_known_good()
        known = (good.new, good.old) if good is not None and good.key == key else ()
        for spec in known:
            if spec.version.digest == image:
                return spec
        raise BoxRefused(f"{image} was not prepared for {key}")

    def _new_spec(self, image: Image) -> Spec:
        """By `domain.launch.launch`, as every trial of it was."""
        root = self._images(image.digest)
        start = launch(self._live.argv, self._live.env, {}, *self._access())
        places = {"state": str(self.state), "image": str(root), "work": str(root)}
        given = {name: fill(value, places) for name, value in start.env.items()}
        return Spec(
            version=Version.of(image),
            argv=fill_all(start.argv, places),
            env=environment(self.home, given),
            cwd=root,
            grace_seconds=self._live.grace_seconds,
        )

    @property
    def _good_file(self) -> Path:
        return durable.private_folder(self.home.folder) / "last-known-good.json"

    def _last_known_good(self) -> LastKnownGood | None:
        data = durable.read(self._good_file)
        try:
            return None if data is None else LastKnownGood.model_validate_json(data)
        except ValidationError as error:
            raise TargetError(f"{self._good_file} cannot be read: {error.error_count()} errors") from error


def hold_options(home: Path, settings: Settings) -> HoldOptions:
    """The proxy before the live agent, as the settings want it."""
    assert isinstance(settings.live, ProcessLive)
    return HoldOptions(
        folder=home / "hold",
        host=settings.live.host,
        port=settings.live.port,
        health_paths=(settings.health.path,),
        session_header=settings.session_header,
    )


def _ended(record: Record) -> Probe:
    ended = record.ended
    if ended is None:
        return Probe(Readiness.FAILED, None, "it does not run")
    how = "while nobody watched" if ended.code is None else f"with {ended.code}"
    return Probe(Readiness.FAILED, ended.boot, f"it ended {how}", ended.code)
