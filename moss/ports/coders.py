"""Coding agents: thin adapters of programs. The docstrings are the contract (see `moss.ports`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from moss.domain.ids import Key


class CoderRole(StrEnum):
    """`editor` may write its work tree; `reviewer` and `planner` only read."""

    EDITOR = "editor"
    REVIEWER = "reviewer"
    PLANNER = "planner"


@dataclass(frozen=True, slots=True)
class CoderTask:
    """What one call of a coding agent is given. `schema` is the result's JSON Schema."""

    key: Key
    role: CoderRole
    stage: str
    iteration: int
    round: int
    prompt: str
    schema: Mapping[str, object]
    model: str | None = None
    resume: str | None = None


@dataclass(frozen=True, slots=True)
class CoderCommand:
    """How a program is started in a box. `files` go to the box's `in` place; the prompt goes to stdin unless the
    program cannot. Words may hold the placeholders of `BoxSpec`."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    files: Mapping[str, bytes]
    stdin: bytes


class EventKind(StrEnum):
    TEXT = "text"
    TOOL = "tool"
    FILE = "file"
    USAGE = "usage"
    RESULT = "result"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CoderEvent:
    """One uniform event of a coding agent's stream. `error` names a class of `errors.CoderError`/`ModelError`."""

    kind: EventKind
    text: str = ""
    result: Mapping[str, object] | None = None
    error: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    money_usd: float = 0.0
    session: str | None = None


class CodingAgent(Protocol):
    """A thin adapter of one program (at most 120 lines). All that programs share is in `engine.coding`."""

    name: str
    scripted: bool
    """True for stand-ins of tests and the demo; every output that shows its results says so."""

    def command(self, task: CoderTask, gateway_url: str, token: str) -> CoderCommand:
        """argv, environment and settings files: data, no shell."""

    def parse(self, line: bytes) -> Sequence[CoderEvent]:
        """Events of one line of its output. Never raises: what it cannot read is a TEXT event."""
