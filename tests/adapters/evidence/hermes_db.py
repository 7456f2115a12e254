"""A Hermes that writes: the database as Hermes 0.19.0 makes it, and rows as it writes them."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moss.domain.evidence import ToolCall, Turn

SCHEMA = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, source TEXT NOT NULL, user_id TEXT, parent_session_id TEXT, started_at REAL NOT NULL,
    ended_at REAL, end_reason TEXT
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL REFERENCES sessions(id), role TEXT NOT NULL,
    content TEXT, tool_call_id TEXT, tool_calls TEXT, tool_name TEXT, effect_disposition TEXT, timestamp REAL NOT NULL,
    token_count INTEGER, finish_reason TEXT, observed INTEGER DEFAULT 0, active INTEGER NOT NULL DEFAULT 1,
    compacted INTEGER NOT NULL DEFAULT 0, api_content TEXT
);
CREATE INDEX idx_messages_session ON messages(session_id, timestamp);
"""
"""The tables that are read, with the columns that matter."""
NOON = 1_795_600_000.0


class HermesDb:
    """`state.db` below a folder, written as a running agent does: WAL, never checkpointed by itself."""

    def __init__(self, root: Path, version: int | str = 22, schema: str = SCHEMA) -> None:
        self.root, self.path = root, root / "state.db"
        root.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(self.path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA wal_autocheckpoint = 0")
        self.db.executescript(schema)
        self.db.execute("INSERT INTO schema_version VALUES (?)", (version,))
        self._calls = 0

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """One transaction."""
        self.db.execute("BEGIN")
        yield
        self.db.execute("COMMIT")

    def session(self, name: str, **more: Any) -> None:
        values = {"id": name, "source": "api_server", "started_at": NOON, **more}
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self.db.execute(f"INSERT OR IGNORE INTO sessions ({names}) VALUES ({marks})", [*values.values()])

    def row(self, session: str, role: str, content: object = "", at: float = NOON, **more: Any) -> int:
        """One message; its row's id."""
        self.session(session)
        values = {"session_id": session, "role": role, "content": content, "timestamp": at, **more}
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        query = f"INSERT INTO messages ({names}) VALUES ({marks})"
        return int(self.db.execute(query, [*values.values()]).lastrowid or 0)

    def calls(self, session: str, *tools: tuple[str, str, str], at: float = NOON) -> None:
        """An assistant's row that calls tools (name, arguments, result) and a row of each one's result."""
        listed, answers = [], []
        for name, arguments, result in tools:
            self._calls += 1
            call = f"call_{self._calls}"
            listed.append({"id": call, "type": "function", "function": {"name": name, "arguments": arguments}})
            answers.append((call, name, result))
        self.row(session, "assistant", "", at, tool_calls=json.dumps(listed), finish_reason="tool_calls")
        for call, name, result in answers:
            self.row(session, "tool", result, at, tool_call_id=call, tool_name=name)

    def turn(
        self, session: str, user: str, reply: str | None = "done", tools: Sequence[tuple[str, str, str]] = (),
        at: float = NOON,
    ) -> None:  # fmt: skip
        """A whole turn."""
        self.row(session, "user", user, at)
        if tools:
            self.calls(session, *tools, at=at)
        if reply is not None:
            self.row(session, "assistant", reply, at, finish_reason="stop")

    def write(self, turn: Turn) -> None:
        """A turn of the neutral kind, as Hermes keeps it."""
        tools = [(tool.name, tool.arguments, _result(tool)) for tool in turn.tools]
        self.turn(turn.session, turn.user, turn.reply, tools, turn.at.timestamp())


def _result(tool: ToolCall) -> str:
    return json.dumps({"error": tool.error, "said": tool.result}) if tool.error else tool.result
