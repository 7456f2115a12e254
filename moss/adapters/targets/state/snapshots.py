"""Owns the snapshots of the state and putting one back. Never looks whether an agent runs: the target does.

Invariant: a snapshot without its marker does not exist; the state folder is at every moment the old one, absent for
the blink between two renames with both at hand, or the whole snapshot. A folder that cannot be renamed is exchanged
entry by entry instead (`exchange`).
"""

import contextlib
import hashlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from moss.adapters.targets.state import exchange, tree
from moss.daemon import durable
from moss.daemon.machine import boot_id
from moss.domain.frozen import Frozen
from moss.domain.ids import Key
from moss.errors import NoSpace, TargetError
from moss.files import remove_tree, sync_folder, write_durably
from moss.ports import Snapshot


class Marker(Frozen):
    """Written last: the snapshot is whole. Until it is `durable` a power cut may have emptied its files, so then it
    counts only in the run of the machine that it was taken in."""

    key: Key
    bytes: int
    seconds: float
    machine_boot: str
    durable: bool = False


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Snapshots of `state`, each in a folder of its own below `folder`. `in_place`: the state is a mount or a volume.
    `hardens`: a snapshot is made durable beside the caller's further work; else by `harden`, when that is called."""

    folder: Path
    state: Path
    in_place: bool = False
    hardens: bool = True

    def taken(self, key: Key) -> Snapshot | None:
        """The whole snapshot of a swap."""
        data = durable.read(self._of(key) / "whole.json")
        if data is None:
            return None
        marker = Marker.model_validate_json(data)
        if not marker.durable and marker.machine_boot != boot_id():
            return None
        return Snapshot(marker.key, marker.bytes, marker.seconds)

    def take(self, key: Key, limit_bytes: int) -> Snapshot | None:
        """A copy of the state; the one that is there already; None when it is larger than the limit.

        Raises: NoSpace, TargetError.
        """
        there = self.taken(key)
        if there is not None:
            return there
        began, size = time.monotonic(), tree.measure(self.state)
        if size > limit_bytes:
            return None
        folder = durable.private_folder(self._of(key))
        if tree.free(folder) < size:
            raise NoSpace(f"the snapshot takes {size} bytes, {tree.free(folder)} are free at {folder}")
        self._copy(self.state, folder / "state", tree.copy_exact)
        marker = Marker(key=key, bytes=size, seconds=time.monotonic() - began, machine_boot=boot_id())
        write_durably(folder / "whole.json", marker.model_dump_json().encode())
        if self.hardens:
            # The agent is down now: the disk gets its time while the next version starts.
            threading.Thread(target=self.harden, args=(key,), name="durable", daemon=True).start()
        return Snapshot(key, size, marker.seconds)

    def restore(self, key: Key) -> None:
        """The snapshot becomes the state; done once for a swap, however often it is asked or killed.

        Raises: TargetError when there is no whole snapshot, NoSpace.
        """
        if self.taken(key) is None:
            raise TargetError(f"there is no whole snapshot of {key}")
        if self.in_place:
            exchange.in_place(self._of(key) / "state", self.state, _name(key))
            return
        incoming, displaced = self._beside(key, "incoming"), self._beside(key, "displaced")
        if not displaced.exists():
            self._copy(self._of(key) / "state", incoming, tree.copy_durably)
            os.rename(self.state, displaced)
        if not self.state.exists():
            os.rename(incoming, self.state)
        sync_folder(self.state.parent)

    def settle(self, key: Key) -> None:
        """Drops the state that a restore displaced, and what a killed restore left."""
        if self.in_place:
            exchange.settle(self.state, _name(key))
            return
        remove_tree(self._beside(key, "displaced"))
        remove_tree(self._beside(key, "incoming"))

    def forget(self, key: Key) -> None:
        """Absent is silent."""
        self.settle(key)
        durable.remove(self._of(key) / "whole.json")
        remove_tree(self._of(key))

    def harden(self, key: Key) -> None:
        """A whole snapshot outlives a power cut when this returns; absent is silent."""
        folder = self._of(key)
        # Forgotten meanwhile, or a disk that fails: then it stays what it is, a snapshot of this run.
        with contextlib.suppress(OSError):
            tree.make_durable(folder / "state")
            if (data := durable.read(folder / "whole.json")) is not None:
                done = Marker.model_validate_json(data).model_copy(update={"durable": True})
                write_durably(folder / "whole.json", done.model_dump_json().encode())

    def _copy(self, source: Path, target: Path, copy_file: tree.CopyFile) -> None:
        """Replaces what a killed copy left; leaves nothing of its own when it fails."""
        remove_tree(target)
        try:
            tree.copy(source, target, copy_file)
        except (NoSpace, TargetError):
            remove_tree(target)
            raise

    def _of(self, key: Key) -> Path:
        return self.folder / _name(key)

    def _beside(self, key: Key, what: str) -> Path:
        """In the state's own parent: a rename must not leave the filesystem."""
        return self.state.with_name(f".{self.state.name}.moss-{_name(key)}-{what}")


def _name(key: Key) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]
