"""Owns the evidence source `hermes`: the turns in the `state.db` of a Hermes Agent, live or in a trial's box.

Everything in there was written by the agent under evolution: it is read from a copy, no text is believed, nothing
unredacted leaves. Invariants: what cannot be read raises, a turn that cannot be read is `Rejected` and read again at
each scan; a turn is given once it is over, and once only; memory does not grow with the database.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath

from pydantic import Field, ValidationError

from moss.adapters.evidence.hermes_copy import Unreadable, open_copy
from moss.adapters.evidence.hermes_rows import BadRows, Row, is_over, turn_of
from moss.adapters.evidence.hermes_sessions import Begun, Sessions
from moss.adapters.evidence.line import write_line
from moss.adapters.evidence.mark import CursorWords
from moss.config import HermesEvidence
from moss.domain.evidence import Turn
from moss.domain.frozen import Frozen, sha256
from moss.domain.ids import Digest
from moss.domain.redact import Redactor
from moss.errors import UserError
from moss.ports import Cursor, Probed, Rejected, Scan

PIECE = 16
"""Turns of one piece of a scan: so many at most are given twice to a store that was killed."""
PASSED = 4096
"""Turns after which a piece ends though most of them were passed by count."""
GUARDS = 256
"""Candidate guards of one scan, spread over it."""
ROWS_OF_A_TURN = 4
"""Roughly: only to spread the candidate guards."""
MOST_BAD = 1000


class Bad(Frozen):
    """A refused turn, read again at each scan."""

    ordinal: int
    row: int
    stop: int | None = None


class Mark(CursorWords):
    """How far a session was read: the last row and the ordinal of the last turn that was given or passed."""

    row: int = Field(0, ge=0)
    turns: int = Field(0, ge=0)
    bad: tuple[Bad, ...] = ()


class HermesSource:
    """`moss.ports.EvidenceSource` over Hermes's database. `scratch`: a folder of MOSS's own for copies."""

    def __init__(
        self, settings: HermesEvidence, redactor: Redactor, scratch: Path, now: Callable[[], datetime]
    ) -> None:
        """Raises: UserError for a path that leaves the state folder."""
        path = PurePosixPath(settings.database)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(
                "it leaves the state folder", where="moss.toml evidence.source.database", mend="name a file below it"
            )
        self._path, self._settled = str(path), settings.settled_seconds
        self._redactor, self._scratch, self._now = redactor, scratch, now
        self._scanning: dict[Path, Sessions] = {}

    # ------------------------------------------------------------------ the port

    def scan(self, root: Path, cursors: Mapping[str, Cursor], signals: Sequence[bytes]) -> Iterator[Scan]:
        """Raises: UserError."""
        with self._open(root) as sessions:
            self._scanning[root] = sessions
            try:
                yield from self._pieces(sessions, cursors, signals)
            except sqlite3.Error as error:
                raise self._broken(root, error) from error
            finally:
                self._scanning.pop(root, None)

    def history(self, root: Path, session: str, before: int, limit: int) -> Sequence[Turn]:
        """Raises: UserError."""
        if limit <= 0:
            return []
        scanning = self._scanning.get(root)
        if scanning is not None and (found := self._past(scanning, session, before, limit)):
            return found
        with self._open(root) as sessions:
            return self._past(sessions, session, before, limit)

    def turns(self, root: Path, session: str | None = None) -> Sequence[Turn]:
        """All turns, also one that is not over. What an agent left there that is no database of its own holds none:
        a trial's candidate wrote it. Raises: UserError when it cannot be copied."""
        found: list[Turn] = []
        try:
            with self._open(root) as sessions:
                for raw, _ in sessions.all():
                    if session in (None, raw, self._redactor.clean(raw)):
                        found += self._readable(sessions, raw, sessions.begun(raw))
        except (Unreadable, sqlite3.Error):
            return []
        return sorted(found, key=lambda turn: (turn.session, turn.ordinal))

    def check(self, root: Path) -> Probed:
        try:
            with self._open(root) as sessions:
                known, users = sessions.counted()
                detail = f"{self._path}, schema v{sessions.schema}, {known:,} sessions, {users:,} turns"
                return Probed("evidence", True, detail)
        except UserError as error:
            return Probed("evidence", False, str(error), error.mend)
        except sqlite3.Error as error:
            broken = self._broken(root, error)
            return Probed("evidence", False, str(broken), broken.mend)

    # ------------------------------------------------------------------ the copy

    @contextmanager
    def _open(self, root: Path) -> Iterator[Sessions]:
        if not root.is_dir():
            mend = "moss adopt starts the agent, which makes it; or set `live.state` in moss.toml"
            raise UserError("there is no such state folder", where=str(root), mend=mend)
        db = open_copy(root, self._path, self._scratch)
        try:
            yield Sessions(db, str(root / self._path))
        finally:
            db.close()

    def _broken(self, root: Path, error: sqlite3.Error) -> UserError:
        return UserError(
            f"is damaged ({error})", where=str(root / self._path), mend="repair it: hermes doctor; then scan again"
        )

    # ------------------------------------------------------------------ a scan

    def _pieces(self, sessions: Sessions, cursors: Mapping[str, Cursor], signals: Sequence[bytes]) -> Iterator[Scan]:
        spread = _Spread(sessions, cursors)
        piece = _Piece()
        for raw, last in sessions.all():
            session = self._redactor.clean(raw)
            mark = Mark.read(cursors.get(session))
            if last <= mark.row and not mark.bad:
                continue
            for reading in self._session(sessions, raw, mark):
                self._take(piece, session, reading, signals, spread)
                if piece.full:
                    yield piece.scan()
                    piece = _Piece()
        if piece.worth:
            yield piece.scan()

    def _session(self, sessions: Sessions, raw: str, mark: Mark) -> "Iterator[_Reading]":
        """The news of one session: refused turns once more, then what is over behind the mark."""
        for bad in mark.bad:
            told = self._read(sessions, raw, Begun(bad.ordinal, bad.row, bad.stop))
            if isinstance(told, Turn):
                mark = mark.model_copy(update={"bad": tuple(one for one in mark.bad if one != bad)})
            yield _Reading(mark, told, again=True)
        turns = sessions.begun(raw)
        if mark.row and not sessions.has(raw, mark.row):
            # the session was written anew (/undo, /retry): what stands there now was given under its old rows
            last = max((row.id for row in sessions.rows(raw, 0)), default=mark.row)
            yield _Reading(mark.model_copy(update={"row": max(last, mark.row)}), None)
            return
        for begun in turns:
            if begun.row <= mark.row:
                continue
            rows = sessions.turn(raw, begun)
            if begun.stop is None and not self._over(rows):
                return
            reading = self._turn(raw, begun, rows)
            ended, ordinal = rows[-1].id, mark.turns + 1
            kept = mark.bad
            if isinstance(reading, _Refused):
                kept = (*kept, Bad(ordinal=begun.ordinal, row=begun.row, stop=begun.stop or ended + 1))
            mark = Mark(row=ended, turns=max(ordinal, begun.ordinal), bad=kept[:MOST_BAD])
            yield _Reading(mark, reading)

    def _over(self, rows: Sequence[Row]) -> bool:
        """The last turn of a session is given when the agent has spoken, or nothing came for long."""
        last = rows[-1]
        if is_over(last) or not isinstance(last.timestamp, int | float):
            return True
        return self._now().timestamp() - last.timestamp > self._settled

    def _read(self, sessions: Sessions, raw: str, begun: Begun) -> "Turn | _Refused":
        return self._turn(raw, begun, sessions.turn(raw, begun))

    def _turn(self, raw: str, begun: Begun, rows: Sequence[Row]) -> "Turn | _Refused":
        if not rows:
            return _Refused(begun, "its rows are gone")
        try:
            return turn_of(raw, begun.ordinal, rows)
        except (BadRows, ValidationError) as error:
            return _Refused(begun, str(error) if isinstance(error, BadRows) else "it is no turn")

    def _take(
        self, piece: "_Piece", session: str, reading: "_Reading", signals: Sequence[bytes], spread: "_Spread"
    ) -> None:
        piece.marks[session] = reading.mark
        match reading.told:
            case None:
                return
            case _Refused() as refused:
                where = f"{session} turn {refused.begun.ordinal}"
                sha = Digest(sha256(f"{where}: {refused.because}".encode()))
                piece.rejected.append(Rejected(session, where, refused.because, sha))
            case turn:
                piece.counted += 1
                piece.sessions += turn.ordinal == 1
                sampled = spread.take()
                if sampled or reading.again or _suspect(turn, signals):
                    piece.turns.append(self._redactor.turn(turn))

    # ------------------------------------------------------------------ the past

    def _past(self, sessions: Sessions, session: str, before: int, limit: int) -> list[Turn]:
        raw = self._raw(sessions, session)
        if raw is None:
            return []
        turns = [begun for begun in sessions.begun(raw) if begun.ordinal < before]
        return self._readable(sessions, raw, turns[-limit:])

    def _raw(self, sessions: Sessions, session: str) -> str | None:
        """The session's own name: it is known by its redacted one."""
        names = [raw for raw, _ in sessions.all() if session in (raw, self._redactor.clean(raw))]
        return names[0] if names else None

    def _readable(self, sessions: Sessions, raw: str, turns: Sequence[Begun]) -> list[Turn]:
        read = (self._read(sessions, raw, begun) for begun in turns)
        return [self._redactor.turn(turn) for turn in read if isinstance(turn, Turn)]


class _Refused:
    """A turn that could not be read."""

    def __init__(self, begun: Begun, because: str) -> None:
        self.begun, self.because = begun, because


class _Reading:
    """A turn, or why there is none, and the mark behind it. `again`: it was refused before."""

    def __init__(self, mark: Mark, told: Turn | _Refused | None, again: bool = False) -> None:
        self.mark, self.told, self.again = mark, told, again


class _Piece:
    """What was read since the last piece."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.rejected: list[Rejected] = []
        self.marks: dict[str, Mark] = {}
        self.counted = self.sessions = 0

    @property
    def full(self) -> bool:
        return len(self.turns) >= PIECE or self.counted >= PASSED

    @property
    def worth(self) -> bool:
        return bool(self.marks)

    def scan(self) -> Scan:
        cursors = tuple(mark.cursor(session) for session, mark in self.marks.items())
        return Scan(tuple(self.turns), cursors, tuple(self.rejected), self.counted, self.sessions)


class _Spread:
    """Takes a candidate guard each so many turns of a scan, whatever the sessions are."""

    def __init__(self, sessions: Sessions, cursors: Mapping[str, Cursor]) -> None:
        seen = max((Mark.read(cursor).row for cursor in cursors.values()), default=0)
        news = max(0, sessions.newest() - seen)
        self._stride, self._at = max(1, news // ROWS_OF_A_TURN // GUARDS), 0

    def take(self) -> bool:
        self._at += 1
        return (self._at - 1) % self._stride == 0


def _suspect(turn: Turn, signals: Sequence[bytes]) -> bool:
    """Whether a detector may find something: a turn without a reply, or one whose line holds a signal."""
    if turn.reply is None:
        return True
    raw = write_line(turn)
    return any(signal in raw for signal in signals)
