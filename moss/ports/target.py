"""The live target: the one precious agent. The docstrings are the contract (see `moss.ports`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from moss.domain.ids import Digest, Key
from moss.ports.boxes import OwnStart
from moss.ports.images import Image


class Readiness(StrEnum):
    READY = "ready"
    STARTING = "starting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at the live agent. `boot` changes with each start; `detail` is for people.

    `said`: the end of what an agent that has ended wrote, where the target keeps it: its own words, not redacted.
    """

    readiness: Readiness
    boot: str | None
    detail: str
    exit_code: int | None = None
    said: str = ""


@dataclass(frozen=True, slots=True)
class LiveVersion:
    """What is live. `running` false: it is stopped (or down)."""

    image: Image
    boot: str | None
    running: bool


@dataclass(frozen=True, slots=True)
class Held:
    """What a hold did: turns in flight that were drained, seconds it took, whether all ended in time."""

    drained: int
    seconds: float
    complete: bool


@dataclass(frozen=True, slots=True)
class Released:
    """What a release did. `refused`: messages that were answered 503 since the hold began."""

    waited: int
    longest_wait: float
    refused: int


@dataclass(frozen=True, slots=True)
class Answered:
    """One message that the agent answered since a mark. `id` is the proxy's, `body_sha` tells messages apart."""

    id: str
    at: datetime
    method: str
    path: str
    status: int
    body_sha: Digest
    session: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of the state taken while nobody writes."""

    key: Key
    bytes: int
    seconds: float


class LiveTarget(Protocol):
    """The one precious agent that users talk to. Two writers on its state are never allowed.

    All steps are idempotent by `key` (one swap). Whatever was done is read from the target itself, so a controller
    that was killed anywhere asks again and goes on. `old` and `new` name which of the swap's two versions.
    """

    def current(self) -> LiveVersion:
        """Raises: TargetDown when the target itself (not the agent) cannot be asked."""

    def prepare(self, image: Image, key: Key) -> None:
        """Everything for `image` is there, not started; last-known-good is written. Raises: BoxRefused, NoSpace."""

    def hold(self, key: Key, drain_seconds: float, deadline_seconds: float) -> Held:
        """New messages wait; turns in flight end. After the deadline the proxy lets go by itself with 503."""

    def stop(self, key: Key, expected: Digest) -> None:
        """Stops what runs with its own grace and keeps it; it will not come back by itself.
        Raises: NotExpected when another version than `expected` runs."""

    def snapshot(self, key: Key, limit_bytes: int) -> Snapshot | None:
        """Copies the state; None when it is larger than `limit_bytes`. Raises: NoSpace."""

    def start(self, key: Key, image: Digest) -> None:
        """Starts exactly one agent of that version; already running it is silent.
        Raises: NotExpected when another one runs, BoxRefused when its image is gone."""

    def probe(self) -> Probe:
        """One look: process and health. Never blocks longer than a second."""

    def address(self) -> tuple[str, int]:
        """Where the agent itself answers, behind the hold: for the canary."""

    def release(self, key: Key) -> Released:
        """Waiting messages flow. Without a hold it is silent."""

    def answered(self, key: Key) -> Sequence[Answered]:
        """Messages that were answered since the release of this swap."""

    def restore_state(self, key: Key) -> None:
        """The snapshot becomes the state, only while nothing runs. Raises: NotExpected, TargetError."""

    def settle(self, key: Key, soaks: bool = False) -> None:
        """The swap is final: the running version gets its restart policy back, markers of `key` are cleared.

        `soaks`: it may still be taken back, so the log of what is answered goes on until it is settled without."""

    def state_copy(self, into: Path) -> None:
        """A consistent copy of the running agent's state (SQLite by its own backup). Raises: NoSpace."""

    def own_start(self) -> OwnStart | None:
        """How the live agent is started, for boxes that are to be as it is; None where `live.argv` says all.
        Raises: TargetDown."""

    def evidence_root(self) -> Path:
        """A folder from which the evidence source may read the live state."""

    def forget(self, key: Key) -> None:
        """Drops the snapshot, and whatever else was kept, of a swap that can no longer be undone. Absent is silent."""


class InstalledTarget(LiveTarget, Protocol):
    """A live target with what stands around it: set up once, kept running, taken down."""

    def keep_alive(self) -> None:
        """What must run beside the agent (hold proxy, supervisor, door to the gateway) runs, and the proxy knows where
        the agent is; silent where it is so. Raises: TargetDown when one of them does not start."""

    def rehearse(self, image: Image) -> None:
        """All that a first start needs is there; nothing is started. Raises: BoxRefused, GatewayDown, TargetDown."""

    def install(self, image: Image) -> None:
        """The first start of a version, from now on started again whenever it ends. Already running it is silent.

        Raises: NotExpected when another one runs, BoxRefused, GatewayDown, TargetDown."""

    def shut_down(self) -> None:
        """The agent and what stands around it have ended when this returns. For a demo's end, and undo."""

    def standing(self) -> LiveVersion | None:
        """What is live under MOSS, told fast and also when all is down; None where nothing was brought under MOSS yet.
        Raises: TargetDown when what is remembered cannot be read."""

    def front(self) -> tuple[str, int]:
        """Where users talk to the agent: an address of this host."""
