"""Owns where the supervisor keeps its files. Invariant: all of it is closed to everybody but its owner."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from moss.adapters.targets.process.words import Record
from moss.daemon import durable
from moss.errors import TargetDown
from moss.files import write_durably


@dataclass(frozen=True, slots=True)
class SupervisorHome:
    """The supervisor's folder."""

    folder: Path

    @property
    def control(self) -> Path:
        return self.folder / "control.sock"

    @property
    def lock(self) -> Path:
        """Held by the supervisor: one of a kind."""
        return self.folder / "supervisor.lock"

    @property
    def agent_lock(self) -> Path:
        """Held by the agent's own process: no second writer while it lives, whoever started it."""
        return self.folder / "agent.lock"

    @property
    def log(self) -> Path:
        return self.folder / "supervisor.log"

    @property
    def agent_log(self) -> Path:
        return self.folder / "agent.log"

    @property
    def tmp(self) -> Path:
        """The agent's HOME and TMPDIR."""
        return self.folder / "tmp"

    def read(self) -> Record:
        """Raises: TargetDown when the file was written by another version or by hand."""
        data = durable.read(self.folder / "state.json")
        try:
            return Record() if data is None else Record.model_validate_json(data)
        except ValidationError as error:
            raise TargetDown(f"{self.folder / 'state.json'} cannot be read: {error.error_count()} errors") from error

    def write(self, record: Record) -> None:
        """On the disk before this returns."""
        write_durably(self.folder / "state.json", record.model_dump_json().encode())
