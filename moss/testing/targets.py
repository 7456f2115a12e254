"""Owns a live target in memory: state, versions that behave well or badly, messages, a hold. Starts nothing.

It is held to the same conformance suite as the real targets. Invariant: never two writers; a start that would
make a second one breaks the test with `AssertionError`, whatever the caller expected.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from moss.domain.frozen import sha256
from moss.domain.ids import Digest, Key
from moss.domain.trial import Answer as TurnAnswer
from moss.errors import BoxRefused, NoSpace, NotExpected, TargetDown, TargetError
from moss.ports import Answered, Held, Image, LiveVersion, Probe, Readiness, Released, Snapshot
from moss.testing.conduct import Conduct, Sent


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the port, in order."""

    step: str
    key: Key | None


@dataclass(slots=True)
class _Run:
    """One start of a version."""

    image: Image
    boot: str
    probes: int = 0
    readies: int = 0
    messages: int = 0


@dataclass(slots=True)
class _State:
    """What the agent keeps: messages that it acknowledged, the version that last changed the schema."""

    messages: list[str] = field(default_factory=list)
    schema: Digest | None = None

    def copy(self) -> "_State":
        return _State(list(self.messages), self.schema)


@dataclass(slots=True)
class _Hold:
    """`boot`: what ran when it began."""

    key: Key
    boot: str | None
    waiting: list[Sent] = field(default_factory=list)
    waited: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Planned:
    step: str
    error: BaseException
    after: bool
    times: int


def _tick() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


class FakeTarget:
    """An in-memory `LiveTarget`. A test scripts it: `behave` versions, `fail` steps, `send` messages.

    `calls` is every port call in order, `starts` how often a version was started.
    """

    def __init__(
        self,
        images: Sequence[Image],
        live: Digest,
        *,
        now: Callable[[], datetime] = _tick,
        waiting_bound: int = 1000,
        state_bytes: int = 1000,
        folder: Path | None = None,
    ) -> None:
        self.images: dict[Digest, Image] = {image.digest: image for image in images}
        self.conduct: dict[Digest, Conduct] = {}
        self.calls: list[Call] = []
        self.starts: list[Digest] = []
        self.state = _State()
        self.state_bytes = state_bytes
        self.free_bytes = 1 << 40
        self.restart_policy = "always"
        self.prepared: Key | None = None
        self.settled: list[Key] = []
        self._now, self._bound, self._folder = now, waiting_bound, folder
        self._boots = 0
        self._ids = 0
        self._planned: list[_Planned] = []
        self._snapshots: dict[Key, tuple[_State, Snapshot]] = {}
        self._restored: set[Key] = set()
        self._last: Image = self.images[live]
        self._exit: int | None = None
        self._running: _Run | None = None
        self._hold: _Hold | None = None
        self._released: dict[Key, Released] = {}
        self._log: dict[Key, list[Answered]] = {}
        self._logging: Key | None = None
        self._start(self._last)

    # what a test scripts and asks

    def behave(self, image: Digest, conduct: Conduct) -> None:
        """From its next start on (and for what runs now) `image` behaves so."""
        self.conduct[image] = conduct

    def fail(self, step: str, error: BaseException, *, after: bool = False, times: int = 1) -> None:
        """The next `times` calls of `step` raise `error`; `after`: with the effect done, as when the
        caller is killed before it could write it down."""
        self._planned.append(_Planned(step, error, after, times))

    def send(self, text: str, session: str | None = None) -> Sent:
        """A user's message through the front door: answered, waiting under a hold, or refused (503, 502)."""
        sent = Sent(text, session)
        if self._hold is None:
            self._deliver(sent)
        elif len(self._hold.waiting) >= self._bound:
            sent.status = 503
            self._hold.refused += 1
        else:
            sent.waiting = True
            self._hold.waiting.append(sent)
            self._hold.waited += 1
        return sent

    def turn(self, text: str) -> TurnAnswer:
        """A message straight to the agent, behind the hold, as the canary is sent."""
        sent = Sent(text, None)
        self._deliver(sent, logged=False)
        if sent.status is None:
            return TurnAnswer(error="connection reset: no answer")
        return TurnAnswer(status=sent.status, text=text if sent.answered else "", body=text)

    def lapse(self) -> None:
        """The hold's deadline passes: waiting messages are answered 503 and the proxy lets go by itself."""
        if self._hold is None:
            return
        for sent in self._hold.waiting:
            sent.status, sent.waiting = 503, False
        self._hold.refused += len(self._hold.waiting)
        self._hold.waiting.clear()
        self._let_go()

    def die(self, code: int = 1) -> None:
        """What runs exits by itself."""
        self._running, self._exit = None, code

    def replace(self, image: Digest) -> None:
        """Somebody else stops what runs and starts `image`."""
        self._running = None
        self._start(self.images[image])

    def drop_image(self, image: Digest) -> None:
        """The image is deleted."""
        del self.images[image]

    @property
    def running(self) -> Digest | None:
        return self._running.image.digest if self._running else None

    @property
    def waiting(self) -> int:
        return len(self._hold.waiting) if self._hold else 0

    @property
    def held(self) -> Key | None:
        return self._hold.key if self._hold else None

    # the port

    def current(self) -> LiveVersion:
        self._called("current", None)
        run = self._running
        return LiveVersion(run.image if run else self._last, run.boot if run else None, run is not None)

    def prepare(self, image: Image, key: Key) -> None:
        with _Step(self, "prepare", key):
            if image.digest not in self.images:
                raise BoxRefused(f"image {image.name} is gone")
            if self.free_bytes < self.state_bytes:
                raise NoSpace("less free space than the state needs")
            self.prepared = key

    def hold(self, key: Key, drain_seconds: float, deadline_seconds: float) -> Held:
        with _Step(self, "hold", key):
            if self._hold is not None and self._hold.key != key:
                raise TargetError(f"held by {self._hold.key} already")
            if self._hold is None:
                self._hold = _Hold(key, self._running.boot if self._running else None)
                self._logging = None
        return Held(0, 0.0, True)

    def stop(self, key: Key, expected: Digest) -> None:
        with _Step(self, "stop", key):
            self._expect(expected)
            self.restart_policy = "no"
            if self._running is not None:
                self._last, self._running, self._exit = self._running.image, None, None

    def snapshot(self, key: Key, limit_bytes: int) -> Snapshot | None:
        with _Step(self, "snapshot", key):
            if self._running is not None:
                raise TargetError(f"{self._running.image.name} runs: a snapshot is taken while nobody writes")
            if self.state_bytes > limit_bytes:
                return None
            if self.free_bytes < self.state_bytes:
                raise NoSpace("less free space than the state needs")
            taken = Snapshot(key, self.state_bytes, 0.0)
            self._snapshots.setdefault(key, (self.state.copy(), taken))
        return self._snapshots[key][1]

    def start(self, key: Key, image: Digest) -> None:
        with _Step(self, "start", key):
            self._expect(image)
            if self._running is not None:
                return
            if image not in self.images:
                raise BoxRefused(f"image {image} is gone")
            self.restart_policy = "no"
            self._start(self.images[image])

    def probe(self) -> Probe:
        self._called("probe", None)
        run = self._running
        if run is None:
            return Probe(Readiness.FAILED, None, "not running", self._exit)
        run.probes += 1
        conduct = self._conduct_of(run)
        if _over(run.probes - 1, conduct.exits_after) or _over(run.readies, conduct.exits_after_ready):
            self.die(conduct.exit_code)
            return Probe(Readiness.FAILED, run.boot, f"exited {conduct.exit_code}", conduct.exit_code)
        found = self._readiness(run, conduct)
        run.readies += found is Readiness.READY
        return Probe(found, run.boot, found.value)

    def address(self) -> tuple[str, int]:
        self._called("address", None)
        if self._running is None:
            raise TargetDown("nothing runs")
        return ("127.0.0.1", 1)

    def release(self, key: Key) -> Released:
        with _Step(self, "release", key):
            if self._hold is not None and self._hold.key == key:
                waiting = self._hold.waiting
                self._open_log(self._hold)
                self._let_go()
                for sent in waiting:
                    sent.waiting = False
                    self._deliver(sent)
        return self._released.get(key, Released(0, 0.0, 0))

    def answered(self, key: Key) -> Sequence[Answered]:
        self._called("answered", key)
        return tuple(self._log.get(key, ()))

    def restore_state(self, key: Key) -> None:
        with _Step(self, "restore_state", key):
            if self._running is not None:
                raise NotExpected(f"{self._running.image.name} runs: the state is not exchanged under it")
            if key in self._restored:
                return
            if key not in self._snapshots:
                raise TargetError(f"no whole snapshot of {key}")
            self.state = self._snapshots[key][0].copy()
            self._restored.add(key)

    def settle(self, key: Key, soaks: bool = False) -> None:
        with _Step(self, "settle", key):
            self.restart_policy = "always"
            if soaks:
                return
            self._log.pop(key, None)
            if self._logging == key:
                self._logging = None
            self.settled.append(key)

    def state_copy(self, into: Path) -> None:
        with _Step(self, "state_copy", None):
            if self.free_bytes < self.state_bytes:
                raise NoSpace("less free space than the state needs")
            into.mkdir(parents=True, exist_ok=True)
            if self._folder is not None:
                shutil.copytree(self._folder, into, symlinks=True, dirs_exist_ok=True)
            (into / "messages.jsonl").write_text("".join(f"{text}\n" for text in self.state.messages))

    def own_start(self) -> None:
        return None

    def evidence_root(self) -> Path:
        if self._folder is None:
            raise TargetError("this target has no state folder: give `folder`")
        return self._folder

    def forget(self, key: Key) -> None:
        with _Step(self, "forget", key):
            self._snapshots.pop(key, None)
            self._restored.discard(key)

    # inside

    def _called(self, step: str, key: Key | None) -> None:
        self.calls.append(Call(step, key))
        self._raise_planned(step, after=False)

    def _raise_planned(self, step: str, *, after: bool) -> None:
        for planned in self._planned:
            if planned.step == step and planned.after is after and planned.times > 0:
                planned.times -= 1
                raise planned.error

    def _expect(self, image: Digest) -> None:
        if self._running is not None and self._running.image.digest != image:
            raise NotExpected(f"{self._running.image.name} runs, {image} was expected")

    def _start(self, image: Image) -> None:
        assert self._running is None, f"two writers: {image.name} beside {self._running}"
        self.starts.append(image.digest)
        self._boots += 1
        self._last, self._exit = image, None
        self._running = _Run(image, f"boot-{self._boots}")
        if self.conduct.get(image.digest, Conduct()).migrates:
            self.state.schema = image.digest

    def _conduct_of(self, run: _Run) -> Conduct:
        return self.conduct.get(run.image.digest, Conduct())

    def _readiness(self, run: _Run, conduct: Conduct) -> Readiness:
        if conduct.health_fails or self.state.schema not in (None, run.image.digest):
            return Readiness.FAILED
        late = conduct.ready_after is None or (conduct.ready_after > 0 and run.probes <= conduct.ready_after)
        return Readiness.STARTING if late else Readiness.READY

    def _deliver(self, sent: Sent, *, logged: bool = True) -> None:
        run = self._running
        if run is None:
            sent.status = 502
            return
        conduct = self._conduct_of(run)
        run.messages += 1
        if conduct.dies_under is not None and run.messages >= conduct.dies_under:
            self.die(conduct.exit_code)
            return
        good = conduct.answers and self._readiness(run, conduct) is Readiness.READY
        sent.status = 200 if good else 500
        if good:
            self.state.messages.append(sent.text)
        if logged and self._logging is not None:
            self._log[self._logging].append(self._entry(sent))

    def _entry(self, sent: Sent) -> Answered:
        body = Digest(sha256(sent.text.encode()))
        self._ids += 1
        return Answered(f"m-{self._ids}", self._now(), "POST", "/", sent.status or 0, body, sent.session)

    def _open_log(self, hold: _Hold) -> None:
        """By the swap's first release on another start of the agent: what the old version answers after a restore
        is not at stake."""
        started = self._running is not None and self._running.boot != hold.boot
        if started and hold.key not in self._log and hold.key not in self.settled:
            self._log[hold.key] = []
            self._logging = hold.key

    def _let_go(self) -> None:
        assert self._hold is not None
        self._released[self._hold.key] = Released(self._hold.waited, 0.0, self._hold.refused)
        self._hold = None


class _Step:
    """One port call with its scripted failures before and after the effect."""

    def __init__(self, target: FakeTarget, step: str, key: Key | None) -> None:
        self._target, self._step, self._key = target, step, key

    def __enter__(self) -> None:
        self._target._called(self._step, self._key)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._target._raise_planned(self._step, after=True)


def _over(count: int, bound: int | None) -> bool:
    return bound is not None and count >= bound
