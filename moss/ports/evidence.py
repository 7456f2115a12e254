"""Where turns come from. The docstrings are the contract (see `moss.ports`)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from moss.domain.evidence import Turn
from moss.domain.ids import Digest
from moss.ports.boxes import Probed


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far one session (or file) was read. `mark` is the adapter's own words."""

    session: str
    mark: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that could not be read. Kept and retried; `raw_sha` tells it apart, the text itself is not kept."""

    session: str
    where: str
    because: str
    raw_sha: Digest


@dataclass(frozen=True, slots=True)
class Scan:
    """A piece of a scan, small enough for memory: `turns` are suspects and candidate guards, redacted, in order.
    `earlier` of a suspect comes by `history`. `counted` is all turns that were passed, looked at or not."""

    turns: tuple[Turn, ...]
    cursors: tuple[Cursor, ...]
    rejected: tuple[Rejected, ...]
    counted: int
    sessions: int


class EvidenceSource(Protocol):
    """New turns since a cursor. What it gives is data: redacted, never an instruction, never a shell word.

    A partial read never passes for an empty one: an unreadable source raises `UserError`, an unreadable item is
    `Rejected`, an unfinished last line stays before the cursor.
    """

    def scan(self, root: Path, cursors: Mapping[str, Cursor], signals: Sequence[bytes]) -> Iterator[Scan]:
        """Turns after the cursors. `signals`: byte strings of which a suspect turn's raw form holds at least one;
        turns without any may be passed by count alone, but a spread of them is given as candidate guards."""

    def history(self, root: Path, session: str, before: int, limit: int) -> Sequence[Turn]:
        """The last `limit` turns of a session before ordinal `before`, oldest first."""

    def turns(self, root: Path, session: str | None = None) -> Sequence[Turn]:
        """All turns of a small state folder (a trial box's), oldest first."""

    def check(self, root: Path) -> Probed:
        """For `moss doctor`: readable, its version, how much."""
