"""Owns evidence in memory: an `EvidenceSource` whose sessions a test writes turn by turn. Never reads a file.

It is held to the same conformance suite as the real sources. Invariant: what it gives has passed the redactor, and a
session is read in order: behind a spoiled turn nothing is passed over.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moss.domain.evidence import Turn
from moss.domain.frozen import canonical, digest
from moss.domain.ids import Digest
from moss.domain.redact import Redactor
from moss.errors import UserError
from moss.ports import Cursor, Probed, Rejected, Scan

PIECE = 8
"""Turns of one piece of a scan."""


@dataclass(slots=True)
class _Kept:
    turn: Turn
    spoiled: bool = False


class MemorySource:
    """`moss.ports.EvidenceSource` over turns that were `add`ed; the folder it is asked about plays no part."""

    def __init__(self, redactor: Redactor | None = None) -> None:
        self._redactor = redactor or Redactor(b"tests")
        self._sessions: dict[str, list[_Kept]] = {}
        self.readable = True

    def add(self, *turns: Turn) -> None:
        """Appends turns, each to its session."""
        for turn in turns:
            self._sessions.setdefault(turn.session, []).append(_Kept(turn))

    def spoil(self, session: str, ordinal: int, spoiled: bool = True) -> None:
        """A turn cannot be read, until it is mended with `spoiled=False`."""
        for kept in self._sessions[session]:
            if kept.turn.ordinal == ordinal:
                kept.spoiled = spoiled

    # ------------------------------------------------------------------ the port

    def scan(self, root: Path, cursors: Mapping[str, Cursor], signals: Sequence[bytes]) -> Iterator[Scan]:
        self._readable()
        for session, kept in self._sessions.items():
            at, bad = _mark(cursors.get(session))
            again = tuple(place for place in bad if kept[place].spoiled)
            mended = [kept[place] for place in bad if not kept[place].spoiled]
            pieces = [kept[start : start + PIECE] for start in range(at, len(kept), PIECE)]
            for piece in pieces or ([[]] if bad else []):
                again += tuple(at + place for place, one in enumerate(piece) if one.spoiled)
                at += len(piece)
                yield self._piece(session, [*mended, *piece], at, again)
                mended = []

    def history(self, root: Path, session: str, before: int, limit: int) -> Sequence[Turn]:
        turns = [turn for turn in self.turns(root, session) if turn.ordinal < before]
        return turns[-limit:] if limit > 0 else []

    def turns(self, root: Path, session: str | None = None) -> Sequence[Turn]:
        self._readable()
        every = [self._redactor.turn(one.turn) for kept in self._sessions.values() for one in kept if not one.spoiled]
        return sorted(
            (turn for turn in every if session in (None, turn.session)), key=lambda turn: (turn.session, turn.ordinal)
        )

    def check(self, root: Path) -> Probed:
        if not self.readable:
            return Probed("evidence", False, "it cannot be read", "make it readable")
        return Probed("evidence", True, f"in memory, {len(self._sessions)} sessions")

    # ------------------------------------------------------------------ inside

    def _readable(self) -> None:
        if not self.readable:
            raise UserError("it cannot be read", where="evidence in memory", mend="make it readable")

    def _piece(self, session: str, piece: Sequence[_Kept], at: int, bad: Sequence[int]) -> Scan:
        given = tuple(self._redactor.turn(one.turn) for one in piece if not one.spoiled)
        rejected = tuple(self._rejected(session, place) for place in bad)
        firsts = sum(turn.ordinal == 1 for turn in given)
        cursor = Cursor(session, f"{at}:{','.join(map(str, bad))}")
        return Scan(given, (cursor,), rejected, len(given), firsts)

    def _rejected(self, session: str, place: int) -> Rejected:
        turn = self._sessions[session][place].turn
        return Rejected(session, f"{session} item {place + 1}", "it is spoiled", Digest(digest(turn)))

    def raw(self) -> bytes:
        """All that was ever added, secrets included: what a test must find nowhere else."""
        return b"\n".join(canonical(one.turn) for kept in self._sessions.values() for one in kept)


def _mark(cursor: Cursor | None) -> tuple[int, tuple[int, ...]]:
    at, _, bad = (cursor.mark if cursor else "0:").partition(":")
    return int(at), tuple(int(place) for place in bad.split(",") if place)
