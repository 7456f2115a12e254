"""Owns boxes that are containers of a Docker Engine: hardened, without any network, bounded, found again after a kill.

A box joins a slot (`docker_slots`): its only way out is the gateway, its only way in the turns that MOSS sends. Never
mounts the engine's socket into anything. Invariants: of one key at most one container was ever started between two
removals; how a box ended is judged once, from the engine, the keeper and this side's own notes.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from moss import config
from moss.adapters.boxes import docker_config
from moss.adapters.boxes.bounds_probe import BOUNDS, DISK, prove
from moss.adapters.boxes.docker_container import Container, State, boxes_of
from moss.adapters.boxes.docker_exec import KILLED, Command
from moss.adapters.boxes.docker_folder import Ended, Folder, Launched
from moss.adapters.boxes.docker_images import Images
from moss.adapters.boxes.docker_keeper import BOX_PORT
from moss.adapters.boxes.docker_making import Making
from moss.adapters.boxes.docker_output import ERRORS_TAIL, Spool
from moss.adapters.boxes.docker_probe import Isolation, look_around
from moss.adapters.boxes.docker_proof import Proof
from moss.adapters.boxes.docker_relay import Relays
from moss.adapters.boxes.docker_slots import SlotGone, Slots
from moss.adapters.boxes.places import free_bytes
from moss.adapters.boxes.process_folder import locked, safe_name
from moss.dockerd import Conflict, Engine, Gone, home_tag
from moss.domain.ids import Digest, Key, RunId
from moss.domain.launch import fill_all
from moss.errors import BoxLost, BoxRefused, NoSpace
from moss.files import read_beneath, remove_tree
from moss.ports import Box, BoxCapabilities, BoxExit, BoxSpec, ExitReason, MountName, Probed

SIGTERM, FILE_TOO_LARGE = 15, 128 + 25


class DockerBoxes:
    """Boxes below `home/boxes`. `gateway_port`: where the gateway answers, on this host and in a box."""

    def __init__(
        self,
        home: Path,
        settings: config.DockerBoxes,
        gateway_port: int,
        spare_bytes: int = 0,
        trees: Callable[[Digest], Path] | None = None,
        proven: bool = False,
    ) -> None:
        """`trees`: where images stand that are plain trees, not the engine's. `proven`: without the self-test; for
        the self-test itself."""
        home = home.resolve()
        self._home, self._spare_bytes, self._proven = home / "boxes", spare_bytes, proven
        self._tag = home_tag(home)
        self._engine = Engine(settings.engine, BoxRefused)
        door = home / "gateway" / "door"
        self._slots = Slots(self._engine, self._home / ".slots", door, self._tag, settings.image, gateway_port)
        images = Images(self._engine, settings, trees)
        self._making = Making(self._slots, images, self._tag)

        def look() -> Isolation:
            unproven = DockerBoxes(home, settings, gateway_port, proven=True)
            return look_around(unproven, self._engine, BOX_PORT, settings.user is not None)

        words = lambda: f"{images.facts(None).id} {settings.user}"  # noqa: E731
        self._proof = Proof(self._engine, self._home / ".proof.json", look, words)
        self._relays = Relays(lambda slot: self._slots.connect(slot, "turns.sock"), self._is_open)
        self._spools: dict[tuple[str, str], Spool] = {}
        self._spooling = threading.Lock()

    @property
    def capabilities(self) -> BoxCapabilities:
        return self._proof.capabilities()

    def probe(self) -> Sequence[Probed]:
        isolation = self._proof.anew()
        if not isolation.closed:
            return isolation.lines
        mend = "see docs/docker.md, what the engine must hold"
        return (*isolation.lines, *prove(self, (*BOUNDS, DISK), "python3", mend))

    def launch(self, spec: BoxSpec) -> Box:
        folder = self._folder(spec.key)
        if not self._proven:
            # before the lock: the self-test launches boxes too, and keys share locks
            self._proof.demand()
        with locked(self._home, spec.key):
            container = self._container(folder)
            state = container.state()
            never_ran = state.status == "created" if state is not None else not folder.begun
            if never_ran and folder.ended() is None:
                self._drop(folder, container)
                self._refuse(spec)
                self._making.make(spec, folder, container)
                self._making.start(spec, folder, container)
                self._spool(folder, folder.launched())
        return folder.box()

    def wait(self, box: Box, seconds: float) -> BoxExit | None:
        until = time.monotonic() + seconds
        while (end := self._end(box)) is None and (left := until - time.monotonic()) > 0:
            self._container(self._folder(box.key)).wait(left)
        return end

    def output(self, box: Box, after: int = 0, limit: int = 1 << 20) -> bytes:
        spool = self._said(box)
        return spool.stdout.read(after, limit) if spool else b""

    def errors(self, box: Box) -> bytes:
        spool = self._said(box)
        if spool is not None:
            return spool.stderr.tail(ERRORS_TAIL)
        ended = self._folder(box.key).ended()
        return ended.errors.encode() if ended else b""

    def address(self, box: Box) -> tuple[str, int]:
        self._end(box)
        if self._folder(box.key).of(box).port is None:
            raise BoxRefused(f"the box {box.id} was launched without a port")
        return self._relays.address(box.id, self._slot(box))

    def exec(self, box: Box, argv: Sequence[str], stdin: bytes, seconds: float) -> tuple[int, bytes, bytes]:
        if self._end(box) is not None:
            raise BoxLost(f"the box {box.id} has ended")
        told, slot = self._folder(box.key).of(box), self._slot(box)
        words = fill_all(argv, docker_config.words(told.tree, told.port, told.state))

        def kill(mark: str) -> None:
            with contextlib.suppress(SlotGone):
                self._slots.order(slot, do="kill", mark=mark)

        try:
            container = self._container(self._folder(box.key))
            command = Command(self._engine, container.name, words, stdin, lambda: self._end(box) is not None)
            code, out, err = command.run(seconds, kill)
        except (Gone, Conflict):
            raise BoxLost(f"the box {box.id} ended or was removed") from None
        if code == KILLED and self._end(box) is not None:
            raise BoxLost(f"the box {box.id} ended under a command")
        return code, out, err

    def fetch(self, box: Box, place: MountName, path: str, limit: int) -> bytes | None:
        return read_beneath(self._folder(box.key).of(box).places[place], path, limit)

    def stop(self, box: Box, grace: float) -> None:
        folder = self._folder(box.key)
        try:
            if self._end(box) is not None:
                return
            folder.note(ExitReason.KILLED)
            with contextlib.suppress(SlotGone):
                self._slots.order(self._slot(box), do="signal", number=SIGTERM)
            while self.wait(box, grace) is None:
                self._container(folder).kill()
        except BoxLost:
            return

    def remove(self, key: Key) -> None:
        folder = self._folder(key)
        with locked(self._home, key):
            self._drop(folder, self._container(folder))

    def list(self, run: RunId | None = None) -> Sequence[Box]:
        """Folders are the truth; a container whose folder somebody removed is still found, so that it is reaped."""
        found = {box.id: box for box in boxes_of(self._engine, self._tag)}
        for path in sorted(self._home.glob("[!.]*")):
            with contextlib.suppress(BoxLost):
                found[path.name] = Folder(path).box()
        return [found[id] for id in sorted(found) if run is None or found[id].run == run]

    def close(self) -> None:
        """Removes the slots that this home holds ready. Boxes that run in them are lost."""
        self._slots.remove_all()

    # how it ended

    def _end(self, box: Box) -> BoxExit | None:
        """None while it runs. Raises: BoxLost."""
        folder = self._folder(box.key)
        told = folder.of(box)
        if (ended := folder.ended()) is not None:
            return ended.exit()
        container = self._container(folder)
        state = container.state()
        if state is None:
            if not folder.begun or folder.ended():
                return None
            raise BoxLost(f"the box {box.id} was lost: its container is gone")
        if folder.starved():
            container.kill()
            raise BoxLost(f"the box {box.id} was lost: its launch was killed before its stdin was whole")
        if state.over:
            return folder.end(self._judge(folder, told, state)).exit()
        # whoever looks at a running box also watches its output
        self._spool(folder, told)
        return None

    def _judge(self, folder: Folder, told: Launched, state: State) -> Ended:
        spool = self._spool(folder, told)
        if spool is not None:
            spool.finish()
        reason = folder.noted() or self._kept_reason(folder, state)
        if spool is not None and spool.cut:
            reason = ExitReason.OUTPUT
        if reason is None and state.code == KILLED and not self._slots.runs(state.slot):
            raise BoxLost(f"the box {folder.path.name} was lost: the slot that it ran in was taken away")
        return Ended(code=state.code, reason=reason or ExitReason.EXITED, seconds=state.seconds)

    def _kept_reason(self, folder: Folder, state: State) -> ExitReason | None:
        """Why the keeper or the kernel ended it; None when its program did."""
        said = self._slots.why(state.slot, folder.path.name)
        if said and state.code == KILLED:
            return ExitReason(said)
        if state.out_of_memory and state.code:
            return ExitReason.MEMORY
        return ExitReason.DISK if state.code == FILE_TOO_LARGE else None

    # what it said

    def _said(self, box: Box) -> Spool | None:
        """Its output, whole when it has ended. Raises: BoxLost."""
        ended = self._end(box)
        folder = self._folder(box.key)
        spool = self._spool(folder, folder.of(box))
        if ended is not None and spool is not None:
            spool.finish()
        return spool

    def _spool(self, folder: Folder, told: Launched) -> Spool | None:
        """What follows the output of this very box, from its beginning; None when there is no container."""
        key = folder.path.name, told.boot
        with self._spooling:
            if key not in self._spools:
                container = self._container(folder)
                if container.state() is None:
                    return None

                def over() -> None:
                    folder.note(ExitReason.OUTPUT)
                    container.kill()

                self._spools[key] = Spool(self._engine, container.name, told.output_bytes, over)
            return self._spools[key]

    # small parts

    def _refuse(self, spec: BoxSpec) -> None:
        if self._spare_bytes and free_bytes(self._home) < self._spare_bytes:
            raise NoSpace(f"{self._home}: less than {self._spare_bytes} bytes are free for a box")
        if spec.runtime is not None:
            raise BoxRefused(f"boxes of the runtime {spec.runtime!r} are not proven to be closed yet")

    def _drop(self, folder: Folder, container: Container) -> None:
        """Nothing of the box is left."""
        state = container.state()
        container.remove()
        with self._spooling:
            for key in [key for key in self._spools if key[0] == folder.path.name]:
                self._spools.pop(key).close()
        self._relays.close(folder.path.name)
        if state is not None:
            self._slots.forget(state.slot, folder.path.name)
        folder.remove()
        remove_tree(self._making.fresh(folder))

    def _slot(self, box: Box) -> str:
        state = self._container(self._folder(box.key)).state()
        if state is None:
            raise BoxLost(f"the box {box.id} has no container any more")
        return state.slot

    def _is_open(self, slot: str) -> bool | None:
        try:
            return bool(self._slots.order(slot, do="open")["open"])
        except SlotGone:
            return None

    def _folder(self, key: Key) -> Folder:
        return Folder(self._home / safe_name(key))

    def _container(self, folder: Folder) -> Container:
        return Container(self._engine, f"moss-{self._tag}-{folder.path.name}")
