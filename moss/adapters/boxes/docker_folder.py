"""Owns the folder of one container box on this host: its places, what was launched, how it ended.

Never talks to the engine. Invariants: `box.json` is there before the container is made, so whatever a kill leaves
behind is found and removed; how a box ended is written once and never changes.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from moss.domain.frozen import Frozen
from moss.domain.ids import Key, RunId
from moss.errors import BoxLost
from moss.files import remove_tree, write_durably
from moss.ports import Box, BoxExit, BoxRole, ExitReason, MountName


class Launched(Frozen):
    """`box.json`: what a launch wrote down. No secret: the environment is the engine's."""

    key: Key
    run: RunId
    role: BoxRole
    boot: str
    started: datetime
    places: dict[MountName, Path]
    port: int | None
    tree: str | None
    output_bytes: int
    state: str = "/moss/state"
    """where its state is inside"""


class Ended(Frozen):
    """`end.json`. `errors`: stderr's tail of a program that could not be started."""

    code: int
    reason: ExitReason
    seconds: float
    errors: str = ""

    def exit(self) -> BoxExit:
        return BoxExit(self.code, self.reason, self.seconds)


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of one box; its name is the box's id."""

    path: Path

    def launched(self) -> Launched:
        """Raises: BoxLost when the folder is gone."""
        try:
            return Launched.model_validate_json((self.path / "box.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise BoxLost(f"the box {self.path.name} is gone") from None

    def box(self) -> Box:
        """Raises: BoxLost."""
        told = self.launched()
        return Box(told.key, told.run, told.role, self.path.name, told.boot, told.started)

    def of(self, box: Box) -> Launched:
        """What was launched as this very box. Raises: BoxLost, also when its key was launched anew since."""
        told = self.launched()
        if told.boot != box.boot:
            raise BoxLost(f"the box {box.id} is gone: its key was launched anew")
        return told

    def begin(self) -> None:
        """Its container is about to be started: from here on, no container means that it was taken away."""
        write_durably(self.path / "begun", b"")

    @property
    def begun(self) -> bool:
        return (self.path / "begun").exists()

    def ended(self) -> Ended | None:
        try:
            return Ended.model_validate_json((self.path / "end.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def end(self, ended: Ended) -> Ended:
        """The end that counts: the first that was written."""
        if (before := self.ended()) is not None:
            return before
        with contextlib.suppress(FileNotFoundError):
            write_durably(self.path / "end.json", ended.model_dump_json().encode())
        return ended

    def note(self, reason: ExitReason) -> None:
        """Why this side ends it, written before it does. The first reason counts."""
        with contextlib.suppress(FileExistsError, FileNotFoundError), open(self.path / "why", "x") as file:
            file.write(reason.value)

    def noted(self) -> ExitReason | None:
        try:
            return ExitReason((self.path / "why").read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    @contextlib.contextmanager
    def feeding(self) -> Iterator[None]:
        """While it lasts, stdin is on its way; a feeder that was killed leaves the mark without its lock."""
        path = self.path / "feeding"
        with open(path, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
            path.unlink(missing_ok=True)

    def starved(self) -> bool:
        """Whether its feeder was killed before stdin was whole."""
        try:
            fd = os.open(self.path / "feeding", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        # it may have ended well between our two looks
        return (self.path / "feeding").exists()

    def remove(self) -> None:
        remove_tree(self.path)
