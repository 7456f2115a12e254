"""Owns boxes that are plain processes of this host. They isolate nothing, and say so.

What they do hold: bounds of time, memory, processes, output and disk; a clean environment; an end that leaves no
process. Never a shell: argv words go to the program as they are. Invariant: of one key there is at most one program,
whoever launches and whatever is killed in between (folders and locks: `process_folder`; the box's life:
`process_runner`).
"""

import fcntl
import json
import os
import random
import socket
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import moss
from moss import config
from moss.adapters.boxes.places import fill_places, free_bytes, put
from moss.adapters.boxes.process_folder import Folder, Program, Spec, locked, safe_name
from moss.adapters.boxes.process_probe import probe
from moss.adapters.boxes.process_runner import ALIVE, EXEC_BYTES
from moss.adapters.boxes.process_tree import MARK
from moss.domain.ids import Digest, Key, RunId
from moss.domain.launch import fill, fill_all
from moss.errors import BoxLost, BoxRefused, NoSpace
from moss.files import read_beneath, remove_tree
from moss.ports import Box, BoxCapabilities, BoxExit, BoxSpec, MountName, Probed

ERRORS_TAIL = 64 << 10
RUN = "import sys; sys.path.append(sys.argv[2]); from moss.adapters.boxes.process_runner import run; run(sys.argv[1])"
PORTS = range(20000, 32000)
"""Below the kernel's range for outgoing connections, so that none of those takes a box's port before the box does."""


class ProcessBoxes:
    """Boxes under `home/boxes`. `images` gives the tree of an image, or raises BoxRefused."""

    capabilities = BoxCapabilities(
        isolates_files=False,
        isolates_network=False,
        limits_memory=True,
        limits_pids=True,
        limits_cpu=False,
        limits_disk=True,
        read_only_root=False,
    )

    def __init__(
        self, home: Path, settings: config.ProcessBoxes, images: Callable[[Digest], Path], free_bytes: int = 0
    ) -> None:
        self._home = home.resolve() / "boxes"
        self._settings, self._images, self._free_bytes = settings, images, free_bytes
        self._ours: set[int] = set()

    def probe(self) -> Sequence[Probed]:
        return probe(self)

    def launch(self, spec: BoxSpec) -> Box:
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = self._folder(spec.key)
        with locked(self._home, spec.key):
            if not folder.started():
                folder.remove()
                self._make(spec, folder)
                self._start(folder)
        return folder.box()

    def wait(self, box: Box, seconds: float) -> BoxExit | None:
        folder, until, pause = Folder(self._home / box.id), time.monotonic() + seconds, 0.002
        while (end := folder.exit()) is None and (left := until - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(0.02, pause * 1.5)
        self._reap()
        return end

    def output(self, box: Box, after: int = 0, limit: int = 1 << 20) -> bytes:
        return self._read(box, "stdout", after, limit)

    def errors(self, box: Box) -> bytes:
        return self._read(box, "stderr", -ERRORS_TAIL, ERRORS_TAIL)

    def address(self, box: Box) -> tuple[str, int]:
        port = Folder(self._home / box.id).spec().port
        if port is None:
            raise BoxRefused(f"the box {box.id} was launched without a port")
        return "127.0.0.1", port

    def exec(self, box: Box, argv: Sequence[str], stdin: bytes, seconds: float) -> tuple[int, bytes, bytes]:
        folder, number = Folder(self._home / box.id), uuid.uuid4().hex
        spec, place = folder.spec(), folder.exec / number
        words = fill_all(argv, self._words(spec.places, spec.port, None))
        try:
            place.mkdir(mode=0o700, parents=True)
            put(place / "stdin", stdin)
            put(place / "command.json", json.dumps({"argv": words, "seconds": seconds}).encode())
            self._order(folder, f"exec {number}")
            code = self._exec_end(folder, place)
            return code, (place / "stdout").read_bytes()[:EXEC_BYTES], (place / "stderr").read_bytes()[:EXEC_BYTES]
        except FileNotFoundError:
            raise BoxLost(f"the box {box.id} was removed under a command") from None
        finally:
            remove_tree(place)

    def fetch(self, box: Box, place: MountName, path: str, limit: int) -> bytes | None:
        return read_beneath(Folder(self._home / box.id).place(place), path, limit)

    def stop(self, box: Box, grace: float) -> None:
        folder = Folder(self._home / box.id)
        try:
            self._order(folder, f"stop {grace}")
            while folder.exit() is None:
                time.sleep(0.005)
        except BoxLost:
            return

    def remove(self, key: Key) -> None:
        if not self._home.exists():
            return
        folder = self._folder(key)
        with locked(self._home, key):
            while folder.alive() and not folder.order("stop 0"):
                time.sleep(0.002)
            while folder.alive():
                time.sleep(0.002)
            folder.remove()
            remove_tree(self._fresh(folder))
        self._reap()

    def list(self, run: RunId | None = None) -> Sequence[Box]:
        boxes = []
        for path in sorted(self._home.glob("[!.]*")):
            try:
                boxes.append(Folder(path).box())
            except BoxLost:
                continue
        return [box for box in boxes if run is None or box.run == run]

    # making a box

    def _folder(self, key: Key) -> Folder:
        return Folder(self._home / safe_name(key))

    def _fresh(self, folder: Folder) -> Path:
        return folder.path.with_name(f".new-{folder.path.name}")

    def _make(self, spec: BoxSpec, folder: Folder) -> None:
        """All that the runner needs, under another name until it is complete."""
        if self._free_bytes and free_bytes(self._home) < self._free_bytes:
            raise NoSpace(f"{self._home}: less than {self._free_bytes} bytes are free for a box")
        if spec.runtime is not None:
            raise BoxRefused(f"plain processes have no runtime {spec.runtime!r}")
        if spec.own is not None:
            raise BoxRefused(
                f"plain processes cannot start {spec.key} as its image does: set boxes.kind to a container's"
            )
        image = self._images(spec.image.digest) if spec.image else None
        fresh = self._fresh(folder)
        remove_tree(fresh)
        try:
            for part in (fresh, fresh / "exec", fresh / "tmp"):
                part.mkdir(mode=0o700)
            places = fill_places(spec, fresh, folder.path)
            put(fresh / "stdin", spec.stdin)
            put(fresh / "alive", b"")
            os.mkfifo(fresh / "orders", 0o600)
            put(fresh / "spec.json", self._spec(spec, folder, places, image).model_dump_json().encode())
        except OSError as error:
            remove_tree(fresh)
            raise BoxRefused(f"the box {folder.path.name} cannot be made: {error}") from None
        fresh.rename(folder.path)

    def _spec(self, spec: BoxSpec, folder: Folder, places: Mapping[MountName, Path], image: Path | None) -> Spec:
        port = _free_port() if spec.port else None
        words = self._words(places, port, image)
        env = {**self._environment(folder), **{name: fill(value, words) for name, value in spec.env.items()}}
        mounted = tuple(path for path in places.values() if path.parent != folder.path)
        own = tuple(path for path in places.values() if path.parent == folder.path)
        program = Program(
            argv=fill_all(spec.argv, words),
            env=env,
            cwd=fill(spec.workdir, words),
            limits=spec.limits,
            own=(*own, folder.path / "tmp"),
            mounted=mounted,
        )
        labels = {"moss.dev/run": spec.run, "moss.dev/key": spec.key, "moss.dev/role": spec.role.value}
        return Spec(
            labels=labels,
            boot=uuid.uuid4().hex,
            started=datetime.now(UTC),
            port=port,
            places=dict(places),
            program=program,
        )

    def _words(self, places: Mapping[MountName, Path], port: int | None, image: Path | None) -> dict[str, str]:
        words = {name.value: str(path) for name, path in places.items()}
        if port is not None:
            words["port"] = str(port)
        if image is not None:
            words["image"] = str(image)
        return words

    def _environment(self, folder: Folder) -> dict[str, str]:
        """All that a program gets beside its spec: nothing of ours."""
        tmp = str(folder.path / "tmp")
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": tmp,
            "TMPDIR": tmp,
            # an image's tree must stay what its digest says
            "PYTHONDONTWRITEBYTECODE": "1",
            MARK: str(folder.path),
        }

    def _start(self, folder: Folder) -> None:
        """Starts the runner, which inherits the lock on `alive`: it runs while anybody holds it."""
        alive = os.open(folder.path / "alive", os.O_RDWR | os.O_CLOEXEC)
        try:
            _lock(alive)
            argv = [sys.executable, "-I", "-S", "-X", "utf8", "-c", RUN, str(folder.path)]
            argv.append(str(Path(moss.__file__).parent.parent))
            log = str(folder.path / "runner.log")
            actions = [
                (os.POSIX_SPAWN_DUP2, alive, ALIVE),
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ]
            self._ours.add(os.posix_spawn(sys.executable, argv, {}, file_actions=actions, setsid=True))
        finally:
            os.close(alive)

    # small parts

    def _reap(self) -> None:
        """Runners are our children until they end; a later controller's are init's."""
        for pid in list(self._ours):
            try:
                if os.waitpid(pid, os.WNOHANG)[0]:
                    self._ours.discard(pid)
            except ChildProcessError:
                self._ours.discard(pid)

    def _order(self, folder: Folder, words: str) -> None:
        """Raises: BoxLost when the box has ended or is gone."""
        while not folder.order(words):
            if folder.exit() is not None:
                raise BoxLost(f"the box {folder.path.name} has ended")
            time.sleep(0.002)

    def _exec_end(self, folder: Folder, place: Path) -> int:
        pause = 0.002
        while not (place / "exit.json").exists():
            if folder.exit() is not None and not (place / "exit.json").exists():
                raise BoxLost(f"the box {folder.path.name} ended under a command")
            time.sleep(pause)
            pause = min(0.02, pause * 1.5)
        return int(json.loads((place / "exit.json").read_bytes())["code"])

    def _read(self, box: Box, name: str, after: int, limit: int) -> bytes:
        path = self._home / box.id / name
        try:
            with open(path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(after if after >= 0 else max(0, size + after))
                return file.read(limit)
        except FileNotFoundError:
            Folder(path.parent).exit()
            return b""


def _free_port() -> int:
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BoxRefused("no free port was found for the box")


def _lock(fd: int) -> None:
    """Ours: nobody else starts a runner while the key's lock is held."""
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
