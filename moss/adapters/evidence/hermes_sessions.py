"""Owns the questions to a copy of Hermes's database: its version, its sessions, where turns begin, the rows of a turn.

Never keeps a secret, never writes. Invariants: a turn's ordinal is its place among the user's rows of its session;
what a compression wrote once more begins no turn; memory does not grow with the database.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from moss.adapters.evidence.hermes_copy import Unreadable
from moss.adapters.evidence.hermes_rows import BEYOND, COLUMNS, TURN_CHARACTERS, Row, is_own

SCHEMAS = range(16, 23)
"""Of Hermes 0.17.0 to 0.19.0: what this MOSS was tested with."""
MEND_SCHEMA = f"use a MOSS that reads it: this one reads {SCHEMAS.start} to {SCHEMAS.stop - 1}, of Hermes 0.17 to 0.19"
NEEDED = frozenset(COLUMNS) | {"session_id", "observed", "active"}

TURNS = """
    SELECT id, substr(CAST(content AS BLOB), 1, 120) FROM messages
    WHERE session_id = ? AND role = 'user' AND coalesce(observed, 0) = 0 ORDER BY id
"""
ROWS = """
    SELECT m.id, m.role, substr(CAST(m.content AS BLOB), 1, 4194304), m.tool_call_id,
        substr(CAST(m.tool_calls AS BLOB), 1, 4194304), m.tool_name, m.timestamp, m.finish_reason
    FROM (SELECT id FROM messages WHERE session_id = ? AND id >= ? AND id < ? ORDER BY id) k
    CROSS JOIN messages m ON m.id = k.id ORDER BY k.id
"""
"""Ids are sorted, not texts; at most 4 MiB of a text are read. As a text, one that begins with a NUL would be empty."""
WRITTEN_AGAIN = """
    SELECT m.id, substr(CAST(m.content AS BLOB), 1, 120), EXISTS (
        SELECT 1 FROM messages o
        WHERE o.session_id = ?1 AND o.id <= ?2 AND o.role = 'user' AND o.content IS m.content
    ) FROM messages m WHERE m.session_id = ?3 AND m.role = 'user' AND m.id > ?4 ORDER BY m.id
"""
COMPACTED = "SELECT max(id) FROM messages WHERE session_id = ? AND compacted = 1"
COMPRESSED = """
    SELECT p.id, (SELECT max(id) FROM messages WHERE session_id = p.id) FROM sessions s
    JOIN sessions p ON p.id = s.parent_session_id WHERE s.id = ? AND p.end_reason = 'compression'
"""


@dataclass(frozen=True, slots=True)
class Begun:
    """A turn by the row that begins it; `stop`: the row that begins the next one, None for the last turn."""

    ordinal: int
    row: int
    stop: int | None


class Sessions:
    """One open copy."""

    def __init__(self, db: sqlite3.Connection, where: str) -> None:
        """Raises: Unreadable for what is not Hermes's, or of a version that was never tried."""
        self._db, self._where = db, where
        self.schema = self._checked()

    def _checked(self) -> int:
        try:
            tables = dict(self._db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall())
            found = self._db.execute("SELECT max(version) FROM schema_version").fetchone()[0]
            self._names = frozenset(row[1] for row in self._db.execute("PRAGMA table_info(messages)"))
        except sqlite3.Error as error:
            raise self._unreadable(f"is not Hermes's database ({error})") from None
        plain = str(tables.get("messages") or "").upper().startswith("CREATE TABLE")
        if not plain or not self._names >= NEEDED:
            raise self._unreadable("has no table `messages` as Hermes makes it")
        if not isinstance(found, int) or found not in SCHEMAS:
            because = f"has the schema version {str(found)[:20]}, which this MOSS cannot read"
            raise Unreadable(because, where=self._where, mend=MEND_SCHEMA)
        return found

    def _unreadable(self, because: str) -> Unreadable:
        return Unreadable(because, where=self._where, mend="correct `evidence.source.database`, or repair the database")

    # ------------------------------------------------------------------ sessions and turns

    def all(self) -> Iterator[tuple[str, int]]:
        """Each session's name with its last row, in the order in which they were begun."""
        query = "SELECT session_id, max(id) FROM messages GROUP BY session_id ORDER BY min(id)"
        for session, last in self._db.execute(query):
            yield str(session), int(last)

    def counted(self) -> tuple[int, int]:
        """Sessions, and rows of users."""
        query = "SELECT count(DISTINCT session_id), count(*) FILTER (WHERE role = 'user') FROM messages"
        sessions, users = self._db.execute(query).fetchone()
        return int(sessions), int(users)

    def newest(self) -> int:
        """The last row of all; 0 for none."""
        return int(self._db.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0])

    def has(self, session: str, row: int) -> bool:
        query = "SELECT 1 FROM messages WHERE id = ? AND session_id = ?"
        return self._db.execute(query, (row, session)).fetchone() is not None

    def begun(self, session: str) -> Sequence[Begun]:
        """The turns of a session in order."""
        again = self._written_again(session)
        found = self._db.execute(TURNS, (session,))
        rows = [int(row) for row, head in found if row not in again and not is_own(head)]
        return [Begun(place, row, rows[place] if place < len(rows) else None) for place, row in enumerate(rows, 1)]

    def rows(self, session: str, since: int, until: int | None = None) -> Iterator[Row]:
        """Rows of a session from the row `since` on and before `until`, in order."""
        for found in self._db.execute(ROWS, (session, since, until if until is not None else 1 << 62)):
            yield Row(*found)

    def turn(self, session: str, begun: Begun) -> list[Row]:
        """All rows of a turn; when it has said more than the bound, of a result only its beginning."""
        kept, left = [], TURN_CHARACTERS
        for row in self.rows(session, begun.row, begun.stop):
            left -= len(row.content) if isinstance(row.content, bytes) else 0
            short = row.content[:BEYOND] if left < 0 and isinstance(row.content, bytes) else row.content
            kept.append(row._replace(content=short))
        return kept

    # ------------------------------------------------------------------ compression

    def _written_again(self, session: str) -> frozenset[int]:
        """Users' rows that a compression wrote once more: at the head of what it left, as they stood before it."""
        source, last = self._before_compression(session)
        if source is None:
            return frozenset()
        found = set()
        after = last if source == session else 0
        for row, head, again in self._db.execute(WRITTEN_AGAIN, (source, last, session, after)):
            if again:
                found.add(int(row))
            elif not is_own(head):
                break
        return frozenset(found)

    def _before_compression(self, session: str) -> tuple[str | None, int]:
        """Where the turns stand that a compression took together: a session, and the last such row of it."""
        compacted = self._db.execute(COMPACTED, (session,)).fetchone()[0] if "compacted" in self._names else None
        if compacted is not None:
            return session, int(compacted)
        try:
            found = self._db.execute(COMPRESSED, (session,)).fetchone()
        except sqlite3.OperationalError:
            return None, 0
        return (str(found[0]), int(found[1])) if found and found[1] is not None else (None, 0)
