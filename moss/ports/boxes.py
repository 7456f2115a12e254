"""Boxes: disposable, hostile ground. The docstrings are the contract (see `moss.ports`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from moss.domain.ids import Key, RunId
from moss.ports.images import Image


class BoxRole(StrEnum):
    CODER = "coder"
    TRIAL = "trial"
    CHECK = "check"
    BUILD = "build"
    GRADER = "grader"
    PREFLIGHT = "preflight"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a box: wall seconds, bytes, cores, processes."""

    seconds: float = 600.0
    memory_bytes: int = 1 << 30
    cpus: float = 1.0
    pids: int = 256
    output_bytes: int = 16 << 20
    disk_bytes: int = 1 << 30


class MountName(StrEnum):
    """The places of a box. In `argv` and `env` the words `{work}` ... stand for where they are inside the box."""

    WORK = "work"
    """a source tree"""
    STATE = "state"
    """the substrate's state folder"""
    IN = "in"
    """files from `BoxSpec.files`, read-only"""
    OUT = "out"
    """what the box leaves behind"""


@dataclass(frozen=True, slots=True)
class Mount:
    """A host folder at one of the box's places."""

    name: MountName
    source: Path
    writable: bool


@dataclass(frozen=True, slots=True)
class OwnStart:
    """How a program is started that its image starts, as whoever runs it live has set it over that image.

    `entrypoint`, `command`, `workdir`, `user`: None: as the image says. `env`, `unset`: over the image's variables.
    `left_out`: names of variables that are the live agent's alone, since their values look secret. `state`: the path
    inside under which its state is kept; `port`: where it listens inside."""

    state: str
    port: int
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    workdir: str | None = None
    user: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BoxSpec:
    """One box. `argv`/`env` values may hold `{work} {state} {in} {out} {image} {port}`: the adapter puts in the
    box's own paths and port. `image` None: the box needs no substrate image (a coder, a grader).
    `port` true: the program listens on `{port}` and is reached by `Boxes.address`.
    `own`: the image's program, started as `own` says; `argv` stands in for its words unless it is empty, `env` goes
    over its variables, `workdir` does not count, `{state}` and `{port}` are those of `own`."""

    key: Key
    run: RunId
    role: BoxRole
    argv: tuple[str, ...]
    image: Image | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    workdir: str = "{work}"
    stdin: bytes = b""
    port: bool = False
    limits: Limits = Limits()
    runtime: str | None = None
    own: OwnStart | None = None


class ExitReason(StrEnum):
    EXITED = "exited"
    DEADLINE = "deadline"
    MEMORY = "memory"
    OUTPUT = "output"
    PIDS = "pids"
    DISK = "disk"
    KILLED = "killed"
    """by `stop`"""


@dataclass(frozen=True, slots=True)
class BoxExit:
    """How a box ended. `code` as a shell would say (128 + signal)."""

    code: int
    reason: ExitReason
    seconds: float


@dataclass(frozen=True, slots=True)
class Box:
    """A launched box. `id` is the adapter's own; `boot` changes when it was ever started anew."""

    key: Key
    run: RunId
    role: BoxRole
    id: str
    boot: str
    started: datetime


@dataclass(frozen=True, slots=True)
class BoxCapabilities:
    """What the adapter gives. Declared, then proven by `probe`; a capability that fails its probe is not there."""

    isolates_files: bool
    isolates_network: bool
    limits_memory: bool
    limits_pids: bool
    limits_cpu: bool
    limits_disk: bool
    read_only_root: bool
    runtimes: tuple[str, ...] = ()
    own_starts: bool = False
    """whether it takes specs with `own`; without, such a launch is refused"""


@dataclass(frozen=True, slots=True)
class Probed:
    """One line of a self-test: what, whether it holds, what to do when not."""

    name: str
    ok: bool
    detail: str
    mend: str | None = None


class Boxes(Protocol):
    """Disposable, hostile. Labels `moss.dev/run`, `moss.dev/key`, `moss.dev/role` on whatever the engine offers."""

    @property
    def capabilities(self) -> BoxCapabilities: ...

    def probe(self) -> Sequence[Probed]:
        """Proves the declared capabilities on this very engine."""

    def launch(self, spec: BoxSpec) -> Box:
        """Starts a box; with a key that exists (running, ended or lost), gives that one. Survives the controller.
        What a read-only mount holds is never changed. A program that does not exist ends with code 127.
        Raises: BoxRefused, NoSpace."""

    def wait(self, box: Box, seconds: float) -> BoxExit | None:
        """How it ended, None while it runs after `seconds`. Raises: BoxLost."""

    def output(self, box: Box, after: int = 0, limit: int = 1 << 20) -> bytes:
        """stdout from byte `after`, at most `limit` bytes; complete up to the box's bound. Raises: BoxLost."""

    def errors(self, box: Box) -> bytes:
        """The tail of stderr, at most 64 KiB. Raises: BoxLost."""

    def address(self, box: Box) -> tuple[str, int]:
        """Host and port where this side reaches the box's `{port}`. Raises: BoxLost."""

    def exec(self, box: Box, argv: Sequence[str], stdin: bytes, seconds: float) -> tuple[int, bytes, bytes]:
        """Runs a command inside: exit code, stdout, stderr (each at most 1 MiB); 137 when it took longer than
        `seconds` and was killed. Raises: BoxLost (also when the box has ended)."""

    def fetch(self, box: Box, place: MountName, path: str, limit: int) -> bytes | None:
        """A regular file below a place, never through a symlink; its first `limit` bytes, None when there is none.
        Raises: BoxLost."""

    def stop(self, box: Box, grace: float) -> None:
        """SIGTERM, after `grace` seconds SIGKILL, the whole tree. Ended already is silent."""

    def remove(self, key: Key) -> None:
        """Kills and forgets; absent is silent. Nothing of it is left."""

    def list(self, run: RunId | None = None) -> Sequence[Box]:
        """All boxes of this home (of a run), ended ones too."""
