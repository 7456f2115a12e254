"""Owns what is asked of a state folder that only a helper can reach, and what it answers. No logic, no I/O."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from moss.domain.frozen import Frozen
from moss.domain.ids import Key
from moss.ports import Snapshot


class Asked(Frozen):
    """One step on the state at `state`, with snapshots in `folder`. `owner`: who a copy at `into` belongs to."""

    do: Literal["take", "harden", "restore", "settle", "forget", "copy"]
    state: Path
    folder: Path
    key: Key = Key("")
    limit_bytes: int = Field(0, ge=0)
    into: Path | None = None
    owner: tuple[int, int] | None = None


class Taken(Frozen):
    """A snapshot, as it is told."""

    key: Key
    bytes: int
    seconds: float

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(self.key, self.bytes, self.seconds)


class Answer(Frozen):
    """How it went. `error`: the kind of what stopped it, with its sentence in `says`."""

    error: Literal["NoSpace", "TargetError"] | None = None
    says: str = ""
    taken: Taken | None = None
