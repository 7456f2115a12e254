"""Jurors and notifications. The docstrings are the contract (see `moss.ports`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from moss.domain.batch import Batch
from moss.domain.ids import Key, RunId


@dataclass(frozen=True, slots=True)
class Vote:
    """What one juror says. `quote` must be found in the evidence, else the vote is thrown out."""

    juror: str
    says: Literal["fixable", "limit_model", "limit_architecture"]
    because: str
    quote: str


class Judge(Protocol):
    """One juror."""

    name: str

    def limits(self, batch: Batch, lessons: Sequence[str], key: Key) -> Vote:
        """Whether any source change can fix the batch. Raises: ModelError."""

    def level(self, sentence: str, record: str, key: Key) -> tuple[int, str]:
        """The level (0..3) of a rubric sentence over a trial's record, with a quote. Raises: ModelError."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification. `id` is stable, so receivers can drop repeats."""

    id: str
    kind: str
    at: datetime
    run: RunId | None
    body: Mapping[str, object]


class Notifier(Protocol):
    name: str
    """Stable across restarts and free of secrets: the outbox remembers by it who took a notice."""

    def send(self, notice: Notice) -> None:
        """Delivers or raises any MossError: the outbox tries again with backoff."""
