"""Owns fakes that outlive the process that uses them, as the real things do: for tests that kill a controller.

Their state is in files below one folder, changed by rename and never synced: a kill of a process loses nothing, a
power cut would. Invariant: a call's effect is there whole or not at all; a kill never lands inside of one, since the
fuse (see `crash`) burns between calls.
"""

import json
import os
import pickle
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moss.domain.evidence import Exchange
from moss.domain.ids import CommitId, Digest, Key, RunId
from moss.domain.launch import fill, fill_all
from moss.engine.places import safe
from moss.errors import BoxLost, BoxRefused
from moss.files import copy_tree, read_beneath, remove_tree
from moss.gateway.ledger import Ledger
from moss.ports import (
    Box,
    BoxCapabilities,
    BoxExit,
    BoxSpec,
    ExitReason,
    Image,
    MountName,
    Probed,
)
from moss.testing.boxes import FakeBoxes, Program, Running
from moss.testing.builders import FakeBuilder, Smoke
from moss.testing.clock import ManualClock
from moss.testing.conduct import Sent
from moss.testing.gateways import MemoryGateway, RealModel
from moss.testing.puppet_world import PuppetTarget, Tree


def keep(place: Path, value: object) -> None:
    """`value` at `place` by rename."""
    half = place.with_name(f"{place.name}.{os.getpid()}")
    half.write_bytes(pickle.dumps(value))
    half.replace(place)


def kept(place: Path) -> Any:
    """What `keep` left there, None when it never did. Only for files of the test's own."""
    return pickle.loads(place.read_bytes()) if place.exists() else None  # noqa: S301


class HastyClock(ManualClock):
    """The machine's clocks, and a little more at each look: waits for a deadline end early. `late`: seconds by which
    the wall clock is set off. `stood`: seconds for which the process was stopped so far; they never were."""

    def __init__(self, step: float = 0.01, late: float = 0.0, stood: Callable[[], float] = lambda: 0.0) -> None:
        self._ahead, self._step, self._late, self._stood = 0.0, step, late, stood

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self._ahead + self._late - self._stood(), UTC)

    def monotonic(self) -> float:
        self._ahead += self._step
        return time.monotonic() + self._ahead - self._stood()

    def jump(self, seconds: float) -> None:
        self._late += seconds


class DurableTarget(PuppetTarget):
    """A live target that goes on where the one of an earlier process was. `save` after each call.
    `sent`: what users sent so far, by text."""

    sent: dict[str, Sent]
    _place: Path

    @classmethod
    def open(cls, place: Path, image: Image, tree: Tree, now: Callable[[], datetime], folder: Path) -> "DurableTarget":
        found = kept(place)
        if found is None:
            made = cls(image, tree, now, folder)
            made._place, made.sent = place, {}
            return made
        target = cls.__new__(cls)
        target.__dict__.update(found)
        target._tree, target._now, target._place, target._folder = tree, now, place, folder
        return target

    def save(self) -> None:
        left_out = ("_tree", "_now", "_place")
        keep(self._place, {name: value for name, value in self.__dict__.items() if name not in left_out})


class DurableBuilder(FakeBuilder):
    """Images that are still there after a restart."""

    def __init__(self, root: Path, smoke: Smoke) -> None:
        super().__init__(root, smoke)
        self._place = root / "images"
        root.mkdir(parents=True, exist_ok=True)
        self._images = kept(self._place) or {}

    def build(self, tree: Path, commit: CommitId, name: str, key: Key, log: Path) -> Image:
        image = super().build(tree, commit, name, key, log)
        keep(self._place, self._images)
        return image

    def remove(self, digest: Digest) -> None:
        super().remove(digest)
        keep(self._place, self._images)


class DurableGateway(MemoryGateway):
    """Accounts and records that are still there after a restart."""

    def __init__(self, root: Path, upstreams: Mapping[str, Any | RealModel], now: Callable[[], datetime]) -> None:
        super().__init__(upstreams, now)
        root.mkdir(parents=True, exist_ok=True)
        self._ledger.close()
        self._ledger = Ledger(root / "ledger.db")
        self._place = root / "records"
        self._records: dict[tuple[Key, int], list[Exchange]] = kept(self._place) or {}

    def save(self) -> None:
        keep(self._place, self._records)


class DurableBoxes:
    """Boxes on disk. A program that comes to an end runs whole inside of `launch`; one of `servers` lives until it is
    stopped. So a box goes on without the controller that launched it, as in any engine."""

    capabilities: BoxCapabilities = FakeBoxes.capabilities

    def __init__(
        self, root: Path, programs: Mapping[str, Program], images: Tree, servers: Sequence[str] = ("puppet",)
    ) -> None:
        self._root, self._programs, self._images, self._servers = root, programs, images, servers
        root.mkdir(parents=True, exist_ok=True)

    def probe(self) -> Sequence[Probed]:
        return ()

    def launch(self, spec: BoxSpec) -> Box:
        folder = self._folder(spec.key)
        if folder.exists():
            return self._box(folder)
        half = folder.with_name(f"{folder.name}.{os.getpid()}.half")
        box = Box(spec.key, spec.run, spec.role, folder.name, uuid.uuid4().hex, datetime.now(UTC))
        places = self._lay_out(half, spec)
        keep(half / "box", (box, replace(spec, files={}, stdin=b"")))
        if spec.argv[0] not in self._servers:
            self._run(half, spec, places)
        half.rename(folder)
        return box

    def _lay_out(self, half: Path, spec: BoxSpec) -> dict[MountName, Path]:
        remove_tree(half)
        mounts = {mount.name: mount for mount in spec.mounts}
        places: dict[MountName, Path] = {}
        for name in MountName:
            mount, own = mounts.get(name), half / name.value
            places[name] = mount.source if mount is not None and mount.writable else own
            if mount is not None and not mount.writable:
                half.mkdir(parents=True, exist_ok=True)
                copy_tree(mount.source, own)
            elif mount is None:
                own.mkdir(parents=True)
        for file, data in spec.files.items():
            (places[MountName.IN] / file).write_bytes(data)
        return places

    def _run(self, half: Path, spec: BoxSpec, places: Mapping[MountName, Path]) -> None:
        words = {name.value: str(path) for name, path in places.items()}
        if spec.image is not None:
            words["image"] = str(self._images(spec.image.digest))
        out, err = bytearray(), bytearray()
        env = {name: fill(value, words) for name, value in spec.env.items()}
        running = Running(
            fill_all(spec.argv, words), env, spec.stdin, places, None, out.extend, err.extend, threading.Event()
        )
        code = self._programs[spec.argv[0]](running)
        (half / "stdout").write_bytes(bytes(out))
        (half / "stderr").write_bytes(bytes(err))
        (half / "exit").write_text(json.dumps(asdict(BoxExit(code, ExitReason.EXITED, 0.0))))

    def spec_of(self, box: Box) -> BoxSpec:
        """What the box was launched with. Raises: BoxLost."""
        spec: BoxSpec = kept(self._living(box) / "box")[1]
        return spec

    def wait(self, box: Box, seconds: float) -> BoxExit | None:
        place = self._living(box) / "exit"
        if not place.exists():
            return None
        said = json.loads(place.read_text())
        return BoxExit(said["code"], ExitReason(said["reason"]), said["seconds"])

    def output(self, box: Box, after: int = 0, limit: int = 1 << 20) -> bytes:
        return _bytes(self._living(box) / "stdout")[after : after + limit]

    def errors(self, box: Box) -> bytes:
        return _bytes(self._living(box) / "stderr")

    def address(self, box: Box) -> tuple[str, int]:
        self._living(box)
        return "127.0.0.1", 1

    def exec(self, box: Box, argv: Sequence[str], stdin: bytes, seconds: float) -> tuple[int, bytes, bytes]:
        raise BoxRefused("these boxes run no commands")

    def fetch(self, box: Box, place: MountName, path: str, limit: int) -> bytes | None:
        spec = self.spec_of(box)
        mounted = next((mount.source for mount in spec.mounts if mount.name is place and mount.writable), None)
        return read_beneath(mounted or self._folder(box.key) / place.value, path, limit)

    def stop(self, box: Box, grace: float) -> None:
        folder = self._folder(box.key)
        if folder.exists() and not (folder / "exit").exists():
            (folder / "exit").write_text(json.dumps(asdict(BoxExit(143, ExitReason.KILLED, 0.0))))

    def remove(self, key: Key) -> None:
        remove_tree(self._folder(key))

    def list(self, run: RunId | None = None) -> Sequence[Box]:
        boxes = [self._box(folder) for folder in sorted(self._root.iterdir()) if not folder.name.endswith(".half")]
        return [box for box in boxes if run in (None, box.run)]

    def _box(self, folder: Path) -> Box:
        box: Box = kept(folder / "box")[0]
        return box

    def _folder(self, key: Key) -> Path:
        return self._root / safe(key)

    def _living(self, box: Box) -> Path:
        folder = self._folder(box.key)
        if not folder.exists() or self._box(folder).boot != box.boot:
            raise BoxLost(f"the box {box.id} is gone")
        return folder


def _bytes(place: Path) -> bytes:
    return place.read_bytes() if place.exists() else b""
