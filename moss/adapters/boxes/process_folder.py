"""Owns the folder of one process box: what stands where, whether its runner lives, what is left behind.

Never starts or judges a program. Invariants: a folder under its final name holds all that its runner needs; a box
runs exactly while somebody holds the lock on its file `alive`.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from moss.adapters.boxes.process_tree import kill_marked
from moss.domain.frozen import Frozen
from moss.domain.ids import Key, RunId
from moss.errors import BoxLost
from moss.files import remove_tree
from moss.ports import Box, BoxExit, BoxRole, ExitReason, Limits, MountName

STRIPES = 16


def safe_name(key: Key) -> str:
    """A file name for any key: its readable part, and a hash that tells all keys apart."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", ".", key).strip(".-")[:48]
    return f"{readable or 'box'}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


class Program(Frozen):
    """What the runner starts and within which bounds. `own` are the box's places, `mounted` the host's folders."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    limits: Limits
    own: tuple[Path, ...]
    mounted: tuple[Path, ...]


class Spec(Frozen):
    """What a launch writes down, `spec.json`. It may hold secrets (a box token): 0600."""

    labels: dict[str, str]
    boot: str
    started: datetime
    port: int | None
    places: dict[MountName, Path]
    program: Program


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of one box."""

    path: Path

    @property
    def exec(self) -> Path:
        return self.path / "exec"

    def place(self, name: MountName) -> Path:
        """Where a place of the box is: in its folder, or the host folder that is mounted."""
        return self.spec().places[name]

    def spec(self) -> Spec:
        """What was written at the launch. Raises: BoxLost when the folder is gone."""
        try:
            return Spec.model_validate_json((self.path / "spec.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise BoxLost(f"the box {self.path.name} is gone: its folder was removed") from None

    def box(self) -> Box:
        """Raises: BoxLost."""
        labels = (spec := self.spec()).labels
        return Box(
            key=Key(labels["moss.dev/key"]),
            run=RunId(labels["moss.dev/run"]),
            role=BoxRole(labels["moss.dev/role"]),
            id=self.path.name,
            boot=spec.boot,
            started=spec.started,
        )

    def started(self) -> bool:
        """Whether a runner ever took the box: its program may have run."""
        return (self.path / "runner.json").exists() or self.alive()

    def alive(self) -> bool:
        """Whether its runner lives."""
        try:
            fd = os.open(self.path / "alive", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def exit(self) -> BoxExit | None:
        """How it ended; None while its runner lives. Raises: BoxLost."""
        alive = self.alive()
        try:
            end = json.loads((self.path / "exit.json").read_bytes())
        except FileNotFoundError:
            if alive:
                return None
            self.spec()
            kill_marked(str(self.path))
            raise BoxLost(f"the box {self.path.name} was lost: its runner is gone and left no exit") from None
        return BoxExit(end["code"], ExitReason(end["reason"]), end["seconds"])

    def order(self, words: str) -> bool:
        """Tells the runner something; False when there is none that could hear it (yet)."""
        try:
            fd = os.open(self.path / "orders", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        with open(fd, "wb", buffering=0) as orders:
            orders.write(words.encode() + b"\n")
        return True

    def remove(self) -> None:
        """Kills what may be left and drops all files."""
        if self.path.exists():
            kill_marked(str(self.path))
            remove_tree(self.path)


@contextlib.contextmanager
def locked(home: Path, key: Key) -> Iterator[None]:
    """One launch or removal of a key at a time, between threads and between controllers."""
    locks = home / ".locks"
    locks.mkdir(mode=0o700, parents=True, exist_ok=True)
    stripe = int(hashlib.sha256(key.encode()).hexdigest(), 16) % STRIPES
    with open(locks / f"{stripe}", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
