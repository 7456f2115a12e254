"""Owns boxes in memory: "programs" are Python callables in threads, places are real folders. Starts no process.

For tests of what uses boxes. A program is known by `argv[0]`; what goes wrong is scripted with `fail`. It is held to
the same conformance suite as the real adapters. Invariant: a box that was lost, stopped or removed runs no more of its
program's effects on this object.
"""

import contextlib
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from moss.domain.ids import Digest, Key, RunId
from moss.domain.launch import fill, fill_all
from moss.errors import BoxLost, BoxRefused, MossError
from moss.files import copy_tree, read_beneath, remove_tree
from moss.ports import Box, BoxCapabilities, BoxExit, BoxSpec, ExitReason, Mount, MountName, Probed


class Ended(Exception):
    """Raised inside of a program that says something after its box's end: it should just end."""


@dataclass(slots=True)
class Running:
    """What a program sees of its box. `stopped` is set when it should end."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    stdin: bytes
    places: Mapping[MountName, Path]
    port: int | None
    say: Callable[[bytes], None]
    complain: Callable[[bytes], None]
    stopped: threading.Event


Program = Callable[[Running], int]
"""Gives its exit code. One that should last waits on `stopped`."""


@dataclass(slots=True)
class _Box:
    spec: BoxSpec
    box: Box
    places: dict[MountName, Path]
    words: dict[str, str]
    port: int | None
    until: float
    stopped: threading.Event = field(default_factory=threading.Event)
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    end: BoxExit | None = None
    lost: bool = False
    began: float = field(default_factory=time.monotonic)


class FakeBoxes:
    """Boxes whose places are below `root`. `launched` is every spec that was started, in order."""

    capabilities = BoxCapabilities(
        isolates_files=False,
        isolates_network=False,
        limits_memory=False,
        limits_pids=False,
        limits_cpu=False,
        limits_disk=False,
        read_only_root=False,
    )

    def __init__(
        self, root: Path, programs: Mapping[str, Program], images: Callable[[Digest], Path] | None = None
    ) -> None:
        self.launched: list[BoxSpec] = []
        self._root, self._programs, self._images = root, programs, images
        self._boxes: dict[Key, _Box] = {}
        self._failures: list[tuple[str, MossError | BoxExit]] = []
        self._changed = threading.Condition(threading.RLock())

    # scripting

    def fail(self, key: str, how: MossError | BoxExit, times: int = 1) -> None:
        """The next `times` launches whose key fits the glob `key`: BoxLost makes the box get lost, other errors are
        raised by `launch`, an exit is how the box ends. Its program does not run."""
        self._failures += [(key, how)] * times

    def lose(self, key: Key) -> None:
        """The box goes away by no doing of its program, now."""
        with self._changed:
            self._boxes[key].lost = True
            self._boxes[key].stopped.set()
            self._changed.notify_all()

    # the port

    def probe(self) -> Sequence[Probed]:
        return (Probed("isolation", False, "boxes in memory isolate nothing and bound only time and output"),)

    def launch(self, spec: BoxSpec) -> Box:
        with self._changed:
            if spec.key in self._boxes:
                return self._boxes[spec.key].box
            failure = self._failure(spec.key)
            if isinstance(failure, MossError) and not isinstance(failure, BoxLost):
                raise failure
            made = self._make(spec)
            self._boxes[spec.key] = made
            self.launched.append(spec)
        if isinstance(failure, BoxLost):
            self.lose(spec.key)
        elif isinstance(failure, BoxExit):
            self._finish(made, failure)
        else:
            threading.Thread(target=self._run, args=(made,), daemon=True, name=f"box {spec.key}").start()
        return made.box

    def wait(self, box: Box, seconds: float) -> BoxExit | None:
        until = time.monotonic() + seconds
        with self._changed:
            while (made := self._of(box)).end is None and time.monotonic() < until:
                self._changed.wait(max(0.0, min(until, made.until) - time.monotonic()))
                if made.end is None and time.monotonic() >= made.until:
                    self._finish(made, BoxExit(137, ExitReason.DEADLINE, made.spec.limits.seconds))
            return made.end

    def output(self, box: Box, after: int = 0, limit: int = 1 << 20) -> bytes:
        with self._changed:
            return bytes(self._of(box).stdout[after : after + limit])

    def errors(self, box: Box) -> bytes:
        with self._changed:
            return bytes(self._of(box).stderr[-(64 << 10) :])

    def address(self, box: Box) -> tuple[str, int]:
        port = self._of(box).port
        if port is None:
            raise BoxRefused(f"the box {box.id} was launched without a port")
        return "127.0.0.1", port

    def exec(self, box: Box, argv: Sequence[str], stdin: bytes, seconds: float) -> tuple[int, bytes, bytes]:
        made = self._of(box)
        if made.end is not None:
            raise BoxLost(f"the box {box.id} has ended")
        out, err, over, codes = bytearray(), bytearray(), threading.Event(), [137]

        def put(stream: bytearray) -> Callable[[bytes], None]:
            def say(data: bytes) -> None:
                if over.is_set():
                    raise Ended
                stream.extend(data)

            return say

        running = self._running(made, fill_all(argv, made.words), stdin, put(out), put(err), over)
        thread = threading.Thread(target=lambda: codes.append(self._call(running)), daemon=True)
        thread.start()
        thread.join(seconds)
        code = codes[-1]
        over.set()
        return code, bytes(out[: 1 << 20]), bytes(err[: 1 << 20])

    def fetch(self, box: Box, place: MountName, path: str, limit: int) -> bytes | None:
        return read_beneath(self._of(box).places[place], path, limit)

    def stop(self, box: Box, grace: float) -> None:
        with contextlib.suppress(BoxLost), self._changed:
            made = self._of(box)
            if made.end is not None:
                return
            made.stopped.set()
            self._changed.wait_for(lambda: made.end is not None, grace)
            if made.end is None:
                self._finish(made, BoxExit(137, ExitReason.KILLED, time.monotonic() - made.began))

    def remove(self, key: Key) -> None:
        with self._changed:
            made = self._boxes.pop(key, None)
            if made is not None:
                made.stopped.set()
                remove_tree(self._root / made.box.id)
                self._changed.notify_all()

    def list(self, run: RunId | None = None) -> Sequence[Box]:
        with self._changed:
            return [made.box for made in self._boxes.values() if run is None or made.spec.run == run]

    # one box

    def _make(self, spec: BoxSpec) -> _Box:
        if spec.image is not None and self._images is None:
            raise BoxRefused("these boxes in memory were given no images")
        if spec.own is not None:
            raise BoxRefused("boxes in memory have no images that start programs")
        image = self._images(spec.image.digest) if spec.image and self._images else None
        name = uuid.uuid4().hex
        places = {place: self._root / name / place.value for place in MountName}
        mounts = {mount.name: mount for mount in spec.mounts}
        for place, path in places.items():
            places[place] = _place(path, mounts.get(place))
        for file, data in spec.files.items():
            if any(part in ("", ".", "..") for part in file.split("/")):
                raise BoxRefused(f"{file!r} is no file name for a box")
            target = places[MountName.IN] / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        port = _free_port() if spec.port else None
        words = {place.value: str(path) for place, path in places.items()}
        words |= {"port": str(port)} if port else {}
        words |= {"image": str(image)} if image else {}
        box = Box(spec.key, spec.run, spec.role, name, uuid.uuid4().hex, datetime.now(UTC))
        return _Box(spec, box, places, words, port, time.monotonic() + spec.limits.seconds)

    def _run(self, made: _Box) -> None:
        say = self._writer(made, made.stdout)
        complain = self._writer(made, made.stderr)
        argv = fill_all(made.spec.argv, made.words)
        code = self._call(self._running(made, argv, made.spec.stdin, say, complain, made.stopped))
        reason = ExitReason.KILLED if made.stopped.is_set() else ExitReason.EXITED
        self._finish(made, BoxExit(code, reason, time.monotonic() - made.began))

    def _running(
        self,
        made: _Box,
        argv: tuple[str, ...],
        stdin: bytes,
        say: Callable[[bytes], None],
        complain: Callable[[bytes], None],
        stopped: threading.Event,
    ) -> Running:
        env = {name: fill(value, made.words) for name, value in made.spec.env.items()}
        return Running(argv, env, stdin, made.places, made.port, say, complain, stopped)

    def _call(self, running: Running) -> int:
        program = self._programs.get(running.argv[0])
        if program is None:
            running.complain(f"moss: cannot start {running.argv[0]!r}: no such program\n".encode())
            return 127
        try:
            return program(running)
        except Ended:
            return 137
        except Exception:
            # as any process: it ends, and says why
            with contextlib.suppress(Ended):
                running.complain(traceback.format_exc().encode())
            return 1

    def _writer(self, made: _Box, stream: bytearray) -> Callable[[bytes], None]:
        bound = made.spec.limits.output_bytes

        def put(data: bytes) -> None:
            with self._changed:
                if made.end is not None or made.lost:
                    raise Ended
                if len(stream) + len(data) > bound:
                    stream.extend(data[: bound - len(stream)] + f"\n[moss: output cut at {bound} bytes]\n".encode())
                    self._finish(made, BoxExit(137, ExitReason.OUTPUT, time.monotonic() - made.began))
                    raise Ended
                stream.extend(data)

        return put

    def _finish(self, made: _Box, end: BoxExit) -> None:
        with self._changed:
            made.end = made.end or end
            made.stopped.set()
            self._changed.notify_all()

    def _of(self, box: Box) -> _Box:
        made = self._boxes.get(box.key)
        if made is None or made.lost or made.box.boot != box.boot:
            raise BoxLost(f"the box {box.id} is gone")
        return made

    def _failure(self, key: Key) -> MossError | BoxExit | None:
        for number, (glob, how) in enumerate(self._failures):
            if fnmatchcase(key, glob):
                del self._failures[number]
                return how
        return None


def _place(path: Path, mount: Mount | None) -> Path:
    """A place of a box: its own folder, a copy of a read-only mount, or the mounted folder itself."""
    if mount is not None and mount.writable:
        return mount.source
    if mount is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        copy_tree(mount.source, path)
    else:
        path.mkdir(parents=True)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """For programs that are servers: a listening socket on the box's port."""
    with socket.create_server(("127.0.0.1", port)) as server:
        yield server
