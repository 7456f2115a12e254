"""Owns what was proven of an engine: the self-test is run once for each engine, kernel and image, and remembered.

Never run in part: a proof is of all of it. Invariant: only a proof that everything holds is remembered; whoever has
none cannot launch (`demand`).
"""

import threading
from collections.abc import Callable
from pathlib import Path

from moss.adapters.boxes.docker_probe import Isolation
from moss.dockerd import Engine
from moss.domain.frozen import Frozen, sha256
from moss.errors import BoxRefused
from moss.files import write_durably
from moss.ports import BoxCapabilities

VERSION = 1
"""Goes up with each change of the hardening or of the probe."""
PROVES: dict[str, set[str]] = {
    "isolates_network": {"network", "network control", "neighbour control"},
    "isolates_files": {"user", "capabilities", "privileges", "seccomp", "engine", "devices", "root"},
    "read_only_root": {"root"},
    "limits_memory": {"memory bound"},
    "limits_pids": {"process bound"},
    "limits_cpu": {"cpu bound"},
    "limits_disk": set(),
}
"""Capability -> the lines of the self-test that it needs."""


class Remembered(Frozen):
    """`.proof.json`: what held, by a hash of the engine, the kernel, the image and the settings."""

    of: str


class Proof:
    """The proof of one home's engine. `look` runs the self-test, `words` name what it depends on beside the engine."""

    def __init__(self, engine: Engine, path: Path, look: Callable[[], Isolation], words: Callable[[], str]) -> None:
        self._engine, self._path, self._look, self._words = engine, path, look, words
        self._found: Isolation | None = None
        self._held = False
        self._lock = threading.Lock()

    def demand(self) -> None:
        """Raises: BoxRefused when boxes of this engine are not closed."""
        with self._lock:
            if self._held:
                return
            of = self._identity()
            if not self._remembered(of):
                found = self._found or self._look()
                self._found = found
                if not found.closed:
                    raise BoxRefused(found.refusal())
                write_durably(self._path, Remembered(of=of).model_dump_json().encode())
            self._held = True

    def anew(self) -> Isolation:
        """Runs the self-test now, whatever is remembered."""
        with self._lock:
            self._path.unlink(missing_ok=True)
            self._held, self._found = False, self._look()
            return self._found

    def capabilities(self) -> BoxCapabilities:
        """What is declared, without what failed."""
        failed = {line.name for line in self._found.lines if not line.ok} if self._found else set()
        held = {name: not lines & failed for name, lines in PROVES.items()}
        return BoxCapabilities(**held, runtimes=(), own_starts=True)

    def _remembered(self, of: str) -> bool:
        try:
            return Remembered.model_validate_json(self._path.read_bytes()).of == of
        except (OSError, ValueError):
            return False

    def _identity(self) -> str:
        with self._engine.saying("the engine cannot be asked"):
            told = self._engine.api.info()
        names = ("ID", "ServerVersion", "KernelVersion", "DefaultRuntime", "SecurityOptions", "CgroupVersion")
        parts = [str(told.get(name)) for name in names]
        return sha256("\n".join((str(VERSION), *parts, self._words())).encode())
