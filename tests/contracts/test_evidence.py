"""The contract of the evidence source, for each source that there is."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from moss.adapters.evidence.hermes import HermesSource
from moss.adapters.evidence.jsonl import JsonlSource
from moss.adapters.evidence.line import write_line
from moss.config import HermesEvidence, JsonlEvidence
from moss.domain.evidence import Turn
from moss.domain.redact import Redactor
from moss.testing.conformance.evidence import EvidenceSourceContract, Stand
from moss.testing.evidence import MemorySource
from tests.adapters.evidence.hermes_db import HermesDb


class MemoryStand(Stand):
    def __init__(self, root: Path) -> None:
        self.source, self.root = MemorySource(), root

    def write(self, *turns: Turn) -> None:
        self.source.add(*turns)

    def spoil(self, session: str, ordinal: int) -> None:
        self.source.spoil(session, ordinal)

    def mend(self, session: str, ordinal: int) -> None:
        self.source.spoil(session, ordinal, spoiled=False)

    def lock(self, locked: bool) -> None:
        self.source.readable = not locked

    source: MemorySource


class JsonlStand(Stand):
    def __init__(self, root: Path) -> None:
        self.source, self.root = JsonlSource(JsonlEvidence(), Redactor(b"tests")), root / "state"
        (self.root / "sessions").mkdir(parents=True)

    def write(self, *turns: Turn) -> None:
        for turn in turns:
            with self._path(turn.session).open("ab") as file:
                file.write(write_line(turn))

    def spoil(self, session: str, ordinal: int) -> None:
        self._rewrite(session, ordinal, b'{"v":1,', b'{"v":7,')

    def mend(self, session: str, ordinal: int) -> None:
        self._rewrite(session, ordinal, b'{"v":7,', b'{"v":1,')

    def lock(self, locked: bool) -> None:
        folder, away = self.root, self.root.with_name("away")
        folder.rename(away) if locked else away.rename(folder)

    def _rewrite(self, session: str, ordinal: int, old: bytes, new: bytes) -> None:
        lines = self._path(session).read_bytes().splitlines(keepends=True)
        lines[ordinal - 1] = lines[ordinal - 1].replace(old, new)
        self._path(session).write_bytes(b"".join(lines))

    def _path(self, session: str) -> Path:
        return self.root / "sessions" / f"{session}.jsonl"


class HermesStand(Stand):
    def __init__(self, root: Path) -> None:
        self.root, self.hermes = root / "state", HermesDb(root / "state")
        scratch = root / "scratch"
        self.source = HermesSource(HermesEvidence(), Redactor(b"tests"), scratch, lambda: datetime.now(UTC))

    def write(self, *turns: Turn) -> None:
        with self.hermes.together():
            for turn in turns:
                self.hermes.write(turn)

    def as_read(self, turn: Turn) -> Turn:
        told = {
            "result": json.dumps({"error": turn.tools[0].error, "said": ""}) if turn.tools[0].error else "ok",
        }
        tools = (turn.tools[0].model_copy(update=told),)
        return turn.model_copy(update={"status": None, "seconds": 0.0, "tools": tools})

    def spoil(self, session: str, ordinal: int) -> None:
        self._rewrite(session, ordinal, "assistant", "?")

    def mend(self, session: str, ordinal: int) -> None:
        self._rewrite(session, ordinal, "?", "assistant")

    def lock(self, locked: bool) -> None:
        folder, away = self.root, self.root.with_name("away")
        folder.rename(away) if locked else away.rename(folder)

    def _rewrite(self, session: str, ordinal: int, old: str, new: str) -> None:
        rows = self.hermes.db.execute("SELECT id FROM messages WHERE session_id = ? AND role = 'user'", (session,))
        first = [row for (row,) in rows][ordinal - 1]
        query = "UPDATE messages SET role = ? WHERE session_id = ? AND role = ? AND id BETWEEN ? AND ?"
        self.hermes.db.execute(query, (new, session, old, first, first + 3))


class TestMemorySource(EvidenceSourceContract):
    @pytest.fixture
    def stand(self, tmp_path: Path) -> Stand:
        return MemoryStand(tmp_path)


class TestJsonlSource(EvidenceSourceContract):
    @pytest.fixture
    def stand(self, tmp_path: Path) -> Stand:
        return JsonlStand(tmp_path)


class TestHermesSource(EvidenceSourceContract):
    @pytest.fixture
    def stand(self, tmp_path: Path) -> Iterator[Stand]:
        stand = HermesStand(tmp_path)
        yield stand
        stand.hermes.close()
