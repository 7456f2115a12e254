"""Owns the slots: containers of the keeper, each with an empty network and process space that one box at a time joins.

A network per box costs 150 ms and runs out at 31; a slot is made once and used again. Never knows a box's program.
Invariants: a slot holds at most one box; before a box joins, nothing of the one before is left in it.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moss.adapters.boxes.docker_config import keeper_config
from moss.dockerd import Conflict, Engine, Gone, labels_filter
from moss.dockerd.labels import HOME
from moss.errors import BoxRefused
from moss.files import remove_tree

SLOT, KEEPER = "moss.dev/slot", "moss.dev/keeper"
START_SECONDS = 20.0
ORDER_SECONDS = 10.0
BUSY = ("created", "running", "paused", "restarting", "removing")


class SlotGone(Exception):
    """The keeper does not answer: it was removed, or its engine started anew."""


class Slots:
    """The slots of one home below `folder`. `door`: the folder with the gateway's socket, `port`: the gateway's, on
    this host and in each slot."""

    def __init__(self, engine: Engine, folder: Path, door: Path, tag: str, image: str, port: int) -> None:
        self._engine, self._folder, self._door = engine, folder, door
        self._tag, self._image, self.port = tag, image, port

    @contextlib.contextmanager
    def taken(self) -> Iterator[str]:
        """The name of a slot that is empty. It counts as free again unless a container with its label exists when
        this ends: make the box's container inside. Raises: BoxRefused."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._free() or self._new()

    def order(self, slot: str, **order: object) -> dict[str, Any]:
        """Tells a keeper something and gives its answer. Raises: SlotGone."""
        try:
            with self.connect(slot, "control.sock") as peer:
                peer.settimeout(ORDER_SECONDS)
                peer.sendall(json.dumps(order).encode() + b"\n")
                with peer.makefile("rb") as answer:
                    found: dict[str, Any] = json.loads(answer.readline())
                    return found
        except (OSError, ValueError) as error:
            raise SlotGone(f"{slot}: {error}") from None

    def connect(self, slot: str, name: str) -> socket.socket:
        """A connection to one of the keeper's sockets, whatever the length of the home's path. Raises: OSError."""
        folder = os.open(self._folder / slot, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        peer = socket.socket(socket.AF_UNIX)
        try:
            peer.settimeout(ORDER_SECONDS)
            peer.connect(f"/proc/self/fd/{folder}/{name}")
        except OSError:
            peer.close()
            raise
        finally:
            os.close(folder)
        return peer

    def why(self, slot: str, box: str) -> str | None:
        """The bound for which the keeper ended a box, None when it did not."""
        try:
            return (self._folder / slot / f"why.{box}").read_text()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def forget(self, slot: str, box: str) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (self._folder / slot / f"why.{box}").unlink()

    def runs(self, slot: str) -> bool:
        return slot in self._running()

    def remove_all(self) -> None:
        """Every slot of this home, whatever is in it."""
        for name in self._running():
            self._remove(name)
        for path in self._folder.glob("moss-*"):
            remove_tree(path)

    def _free(self) -> str | None:
        running = self._running()
        busy = self._busy()
        for slot in running:
            if slot in busy:
                continue
            try:
                if self.order(slot, do="clear")["left"] == 0:
                    return slot
            except (SlotGone, KeyError):
                pass
            self._remove(slot)
        return None

    def _running(self) -> list[str]:
        with self._engine.saying("slots cannot be listed"):
            found = self._engine.api.containers(filters=labels_filter({HOME: self._tag, KEEPER: "1"}))
        return sorted(container["Names"][0].lstrip("/") for container in found)

    def _busy(self) -> set[str]:
        with self._engine.saying("boxes cannot be listed"):
            found = self._engine.api.containers(all=True, filters=labels_filter({HOME: self._tag}))
        return {c["Labels"][SLOT] for c in found if SLOT in c["Labels"] and c["State"] in BUSY}

    def _new(self) -> str:
        name = f"moss-{self._tag}-slot-{os.urandom(3).hex()}"
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        self._door.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = keeper_config(self._image, {HOME: self._tag, KEEPER: "1"}, self.port, folder, self._door)
        try:
            with self._engine.saying("a slot for boxes cannot be made"):
                self._engine.api.create_container_from_config(config, name)
                self._engine.api.start(name)
        except Gone:
            raise BoxRefused(
                f"the image `{self._image}` for boxes is not on the engine (mend: docker pull {self._image}, or "
                "scripts/images where nothing can be pulled)"
            ) from None
        self._wait_for(name)
        return name

    def _wait_for(self, slot: str) -> None:
        ends = time.monotonic() + START_SECONDS
        while True:
            try:
                self.order(slot, do="hello")
                return
            except SlotGone as error:
                if time.monotonic() > ends:
                    self._remove(slot)
                    raise BoxRefused(
                        f"the keeper of a slot cannot be reached over a socket in the home ({error}): the engine must "
                        "run on this machine and see the home under the same path"
                    ) from None
                time.sleep(0.005)

    def _remove(self, slot: str) -> None:
        with contextlib.suppress(Gone, Conflict), self._engine.saying(f"the slot {slot} cannot be removed"):
            self._engine.api.remove_container(slot, force=True)
        remove_tree(self._folder / slot)
