"""Owns what the proxy remembers across a crash: the agent's address, the hold, the answered log. Never a message.

Invariant: what is on the disk is never behind what was answered to the controller.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from moss.daemon import durable
from moss.domain.frozen import Frozen
from moss.domain.ids import Key
from moss.files import write_durably
from moss.hold.words import AnsweredLine, Backend, ReleasedSays

LOG_LIMIT = 64 << 20
"""bytes of one answered log; a swap that nobody settles does not fill the disk"""


class KeptHold(Frozen):
    """A hold that lasts. `deadline` is in the machine's monotonic seconds, which start anew with `machine_boot`."""

    key: Key
    deadline: float
    machine_boot: str
    waiting: int
    backend_boot: str
    """the agent's boot when it began: what is released on another boot is worth a log"""


class Kept(Frozen):
    """The whole of it, one small file."""

    backend: Backend | None = None
    hold: KeptHold | None = None
    released: ReleasedSays | None = None
    lapsed: KeptHold | None = None
    """the hold that ran out before its swap was through: held again, it is the same one"""
    logging: Key | None = None


class Memory:
    """The proxy's folder. `kept` is what the file says."""

    def __init__(self, folder: Path) -> None:
        self._file = durable.private_folder(folder) / "state.json"
        self._logs = durable.private_folder(folder / "answered")
        self.kept = _read(self._file)
        self._bytes = self._size(self.kept.logging)

    def change(self, edit: Callable[[Kept], Kept]) -> None:
        """On the disk before this returns."""
        fresh = edit(self.kept)
        if fresh != self.kept:
            write_durably(self._file, fresh.model_dump_json().encode())
            if fresh.logging != self.kept.logging:
                self._bytes = self._size(fresh.logging)
            self.kept = fresh

    def log(self, key: Key, line: AnsweredLine) -> None:
        """On the disk before the client gets its answer."""
        data = line.model_dump_json().encode()
        if self._bytes + len(data) < LOG_LIMIT:
            durable.append(self._log_of(key), data)
            self._bytes += len(data) + 1

    def was_logged(self, key: Key) -> bool:
        """Whether a log was opened for this swap already."""
        return self._log_of(key).exists()

    def open_log(self, key: Key) -> None:
        self._log_of(key).touch(0o600)

    def answered(self, key: Key) -> tuple[AnsweredLine, ...]:
        return tuple(AnsweredLine.model_validate_json(line) for line in durable.whole_lines(self._log_of(key)))

    def drop_log(self, key: Key) -> None:
        durable.remove(self._log_of(key))

    def _log_of(self, key: Key) -> Path:
        return self._logs / (hashlib.sha256(key.encode()).hexdigest()[:32] + ".jsonl")

    def _size(self, key: Key | None) -> int:
        try:
            return self._log_of(key).stat().st_size if key else 0
        except FileNotFoundError:
            return 0


def _read(file: Path) -> Kept:
    data = durable.read(file)
    if data is None:
        return Kept()
    try:
        return Kept.model_validate_json(data)
    except ValidationError:
        # Written whole or not at all, so this is another version's or a person's: the front door opens all the same.
        file.replace(file.with_suffix(".unreadable"))
        return Kept()
