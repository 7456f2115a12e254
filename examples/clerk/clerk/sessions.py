"""Owns the conversations: one file a session, one turn a line, in MOSS's neutral evidence format (version 1).

Lines are compact JSON, never changed once written. Invariant: a turn is on the disk before its answer is sent;
a last line that a crash tore was never answered, and is cut off before the next one is written.
"""

import json
import os
import re
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


class BadSession(Exception):
    """The name of a session cannot be one."""


@dataclass
class ToolRow:
    """One tool that ran. `error` is the tool's own, or what the ledger audit says afterwards."""

    name: str
    arguments: str
    result: str
    error: str | None = None


@dataclass
class Turn:
    """One message of a customer with all that was done for it. `at` is ISO 8601, UTC."""

    session: str
    ordinal: int
    at: str
    user: str
    user_id: str | None = None
    reply: str | None = None
    tools: list[ToolRow] = field(default_factory=list)
    status: int | None = None
    finish: str | None = None
    error: str | None = None
    seconds: float | None = None


class Sessions:
    """The store. Turns of one session are strictly one after the other: take `lock` around one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def lock(self, session: str) -> threading.Lock:
        """Raises: BadSession when the name cannot be a file's."""
        if not SESSION.fullmatch(session):
            raise BadSession("a session's name is 1 to 80 letters, digits, dots, dashes or underscores")
        with self._guard:
            return self._locks.setdefault(session, threading.Lock())

    def history(self, session: str) -> list[dict]:
        """All turns of a session, oldest first."""
        try:
            lines = self._path(session).read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def append(self, turn: Turn) -> None:
        """Writes a turn for good."""
        path = self._path(turn.session)
        new = not path.exists()
        whole = {"v": 1, **_without_nulls(asdict(turn))}
        line = json.dumps(whole, ensure_ascii=False, separators=(",", ":")) + "\n"
        with path.open("ab+") as file:
            _cut_torn_line(file)
            file.write(line.encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
        if new:
            _sync_folder(self._folder)

    def _path(self, session: str) -> Path:
        return self._folder / f"{session}.jsonl"


def _without_nulls(value: dict) -> dict:
    kept = {key: item for key, item in value.items() if item is not None}
    if "tools" in kept:
        kept["tools"] = [_without_nulls(row) for row in kept["tools"]]
    return kept


def _cut_torn_line(file) -> None:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(0)
    whole = file.read()
    if not whole.endswith(b"\n"):
        file.truncate(whole.rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
