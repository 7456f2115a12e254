"""Owns what is remembered of each swap of a container: what it set out from and to, enough to make both again.

Written before anything is touched, closed to all but this user (a container's variables hold secrets), dropped when the
swap can no longer be undone. Never asks an engine. Invariant: the newest is known by one file that is written whole.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from moss.adapters.targets.docker.containers import Restart
from moss.adapters.targets.docker.state import StatePlace
from moss.adapters.targets.version import Version
from moss.daemon import durable
from moss.dockerd.substrate import UserSettings
from moss.domain.frozen import Frozen
from moss.domain.ids import Digest, Key
from moss.errors import TargetError
from moss.files import write_durably


class Side(Frozen):
    """One of the two versions. `id`: of the container that was there before; `kept`: the name while it is not the live
    one; `env`: the variables that MOSS set in it."""

    version: Version
    kept: str
    id: str | None = None
    env: dict[str, str] = {}


class LastKnownGood(Frozen):
    """A swap. `new` None: only a stop was asked. `sidecars`: ids of containers that always wrote beside the agent.
    `settled`: the version that stayed."""

    key: Key
    name: str
    user: UserSettings
    restart: Restart
    state: StatePlace
    old: Side
    new: Side | None = None
    sidecars: tuple[str, ...] = ()
    settled: Digest | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        return (self.old,) if self.new is None else (self.old, self.new)

    def side(self, image: Digest) -> Side | None:
        """The new one where both are of one version: it is a swap all the same."""
        return next((side for side in reversed(self.sides) if side.version.digest == image), None)


class _Newest(Frozen):
    key: Key


@dataclass(frozen=True, slots=True)
class Swaps:
    """Those of one home, in its folder `live`."""

    folder: Path

    def newest(self) -> LastKnownGood | None:
        """Raises: TargetError when a file was written by another version or by hand."""
        data = durable.read(self._pointer)
        try:
            return None if data is None else self.of(_Newest.model_validate_json(data).key)
        except ValidationError as error:
            raise TargetError(f"{self._pointer} cannot be read: {error.error_count()} errors") from error

    def of(self, key: Key) -> LastKnownGood | None:
        return _read(self._file(key))

    def all(self) -> Iterator[LastKnownGood]:
        for path in sorted(self._swaps.glob("*.json")):
            if (found := _read(path)) is not None:
                yield found

    def update(self, good: LastKnownGood) -> None:
        """On the disk when this returns."""
        durable.private_folder(self._swaps)
        write_durably(self._file(good.key), good.model_dump_json().encode())

    def keep(self, good: LastKnownGood) -> LastKnownGood:
        """On the disk when this returns, and the newest."""
        self.update(good)
        write_durably(self._pointer, _Newest(key=good.key).model_dump_json().encode())
        return good

    def drop(self, key: Key) -> None:
        """Absent is silent; the newest stays: by it one knows what is live."""
        newest = self.newest()
        if newest is None or newest.key != key:
            durable.remove(self._file(key))

    @property
    def _pointer(self) -> Path:
        return self.folder / "last-known-good.json"

    @property
    def _swaps(self) -> Path:
        return self.folder / "swaps"

    def _file(self, key: Key) -> Path:
        return self._swaps / f"{short(key)}.json"


def short(word: str) -> str:
    """A part of a name, the same for the same word."""
    return hashlib.sha256(word.encode()).hexdigest()[:10]


def _read(path: Path) -> LastKnownGood | None:
    data = durable.read(path)
    try:
        return None if data is None else LastKnownGood.model_validate_json(data)
    except ValidationError as error:
        raise TargetError(f"{path} cannot be read: {error.error_count()} errors") from error
