"""The turns in a Hermes Agent's database: which rows they are, when they are over, and what is no turn at all."""

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moss.adapters.evidence import hermes
from moss.adapters.evidence.hermes import HermesSource
from moss.adapters.evidence.hermes_rows import BadRows, Row, turn_of
from moss.config import HermesEvidence
from moss.domain.detect import Detectors
from moss.domain.evidence import Turn
from moss.domain.redact import Redactor
from moss.errors import UserError
from moss.ports import Cursor, Scan

from .hermes_db import NOON, SCHEMA, HermesDb

DETECTORS = Detectors(("tool-error", "length", "empty-reply", "exit-code"))
RECORDED = Path(__file__).with_name("hermes_rows.json")


class Watched:
    """A Hermes that writes, a source that reads it, and the cursors of its scans."""

    def __init__(self, root: Path) -> None:
        self.root, self.scratch = root / "state", root / "scratch"
        self.hermes = HermesDb(self.root)
        self.now = NOON + 5
        self.cursors: dict[str, Cursor] = {}
        clock = lambda: datetime.fromtimestamp(self.now, UTC)  # noqa: E731
        self.source = HermesSource(HermesEvidence(), Redactor(b"tests"), self.scratch, clock)

    def scan(self) -> list[Scan]:
        pieces = []
        for piece in self.source.scan(self.root, dict(self.cursors), DETECTORS.signals):
            pieces.append(piece)
            self.cursors.update({cursor.session: cursor for cursor in piece.cursors})
        return pieces

    def given(self) -> list[Turn]:
        return [turn for piece in self.scan() for turn in piece.turns]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.hermes.close()


def test_the_rows_of_a_real_hermes_whose_stream_died_behind_a_tools_name(watched: Watched) -> None:
    for row in json.loads(RECORDED.read_text()):
        watched.hermes.row(row.pop("session_id"), row.pop("role"), row.pop("content"), row.pop("timestamp"), **row)
    wrote, failed, counted = watched.given()
    (call,) = wrote.tools
    assert (call.name, call.error, call.exit_code, wrote.reply) == ("write_file", None, None, "I wrote it, 6 bytes.")
    assert json.loads(call.arguments) == {"path": "notes/a.md", "content": "hello\n"}
    (call,) = failed.tools
    assert (call.name, call.arguments, failed.finish) == ("write_file", "{}", "stop")
    assert call.error is not None
    assert "missing required field 'path'" in call.error
    (finding,) = DETECTORS.findings(failed)
    assert finding.fingerprint == "tool-error-write-file-write-file-missing-required-field-re"
    assert (counted.tools[0].exit_code, counted.ordinal, DETECTORS.findings(counted)) == (0, 3, ())


def test_a_turn_is_given_when_the_agent_has_spoken_and_only_then(watched: Watched) -> None:
    watched.hermes.row("s", "user", "look it up")
    assert watched.given() == []
    watched.hermes.calls("s", ("find", "{}", '{"found": 1}'))
    assert watched.given() == []
    watched.hermes.row("s", "assistant", "here it is", finish_reason="stop")
    (turn,) = watched.given()
    assert (turn.id, turn.user, turn.reply, len(turn.tools)) == ("s#1", "look it up", "here it is", 1)
    assert watched.given() == []


def test_a_turn_without_a_last_word_is_given_when_nothing_came_for_long(watched: Watched) -> None:
    watched.hermes.row("s", "user", "hello?")
    watched.now = NOON + 599
    assert watched.given() == []
    watched.now = NOON + 601
    (turn,) = watched.given()
    assert (turn.reply, [finding.detector for finding in DETECTORS.findings(turn)]) == (None, ["empty-reply"])
    watched.hermes.row("s", "assistant", "so late", finish_reason="stop")
    assert watched.given() == [], "once only"
    watched.hermes.turn("s", "and now?")
    assert [one.id for one in watched.given()] == ["s#2"]


def test_the_next_message_ends_a_turn_that_had_no_answer(watched: Watched) -> None:
    watched.hermes.row("s", "user", "hello?")
    watched.hermes.turn("s", "hello again")
    assert [(turn.id, turn.reply) for turn in watched.given()] == [("s#1", None), ("s#2", "done")]


def test_what_hermes_says_to_itself_begins_no_turn(watched: Watched) -> None:
    watched.hermes.row("s", "user", "a long story")
    watched.hermes.row("s", "assistant", "once upon", finish_reason="length")
    watched.hermes.row("s", "user", "[System: Your previous response was truncated by the output length limit.]")
    watched.hermes.row("s", "assistant", "the end", finish_reason="stop")
    (turn,) = watched.given()
    assert (turn.user, turn.reply, turn.finish) == ("a long story", "the end", "stop")


def test_messages_of_others_that_the_agent_only_overheard_begin_no_turn(watched: Watched) -> None:
    watched.hermes.row("s", "user", "not for you", observed=1)
    watched.hermes.turn("s", "for you")
    assert [(turn.id, turn.user) for turn in watched.given()] == [("s#1", "for you")]


def test_failures_of_all_kinds_are_found_by_the_detectors(watched: Watched) -> None:
    watched.hermes.turn("s", "1", tools=[("read_file", "{}", '{"content": "", "error": "File not found: x"}')])
    watched.hermes.turn("s", "2", tools=[("terminal", "{}", '{"output": "no", "exit_code": 2, "error": null}')])
    watched.hermes.turn("s", "3", tools=[("browse", "{}", '{"status": "error", "message": "gone away"}')])
    watched.hermes.row("s", "user", "4")
    watched.hermes.row("s", "assistant", "half a sen", finish_reason="length")
    watched.hermes.turn("s", "5", tools=[("find", "{}", '{"error": null, "status": "ok", "exit_code": 0}')])
    found = [[finding.detector for finding in DETECTORS.findings(turn)] for turn in watched.given()]
    assert found == [["tool-error"], ["tool-error", "exit-code"], ["tool-error"], ["length"], []]


def test_answers_are_put_with_their_calls_whatever_their_order(watched: Watched) -> None:
    listed = [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in ("a", "b")]
    watched.hermes.row("s", "user", "both")
    watched.hermes.row("s", "assistant", None, tool_calls=json.dumps(listed), finish_reason="tool_calls")
    watched.hermes.row("s", "tool", "of b", tool_call_id="b", tool_name="b")
    watched.hermes.row("s", "tool", "of a", tool_call_id="a", tool_name="a")
    watched.hermes.row("s", "tool", "of nobody", tool_call_id="z", tool_name="z")
    watched.hermes.row("s", "assistant", "ok", finish_reason="stop")
    (turn,) = watched.given()
    assert [(tool.name, tool.result) for tool in turn.tools] == [("a", "of a"), ("b", "of b"), ("z", "of nobody")]


def test_words_of_a_message_in_parts_are_its_texts(watched: Watched) -> None:
    parts = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": "data:..."}}]
    watched.hermes.turn("s", "\0json:" + json.dumps(parts))
    assert [turn.user for turn in watched.given()] == ["what is this?"]


# ---------------------------------------------------------------- sessions that are rewritten


def test_what_a_compression_wrote_again_begins_no_turn(watched: Watched) -> None:
    for number in (1, 2, 3):
        watched.hermes.turn("s", f"question {number}")
    assert len(watched.given()) == 3
    watched.hermes.db.execute("UPDATE messages SET active = 0, compacted = 1")
    watched.hermes.row("s", "user", "[CONTEXT COMPACTION — REFERENCE ONLY] Earlier turns were compacted")
    watched.hermes.turn("s", "question 3")
    watched.hermes.turn("s", "question 4")
    watched.hermes.turn("s", "question 3")
    assert [(turn.ordinal, turn.user) for turn in watched.given()] == [(4, "question 4"), (5, "question 3")]


def test_a_session_that_goes_on_after_a_compression_starts_with_its_own_turns(watched: Watched) -> None:
    watched.hermes.session("old", end_reason="compression")
    watched.hermes.turn("old", "question 1")
    watched.hermes.turn("old", "question 2")
    watched.hermes.session("new", parent_session_id="old")
    watched.hermes.turn("new", "question 2")
    watched.hermes.turn("new", "question 3")
    assert [turn.id for turn in watched.given()] == ["old#1", "old#2", "new#1"]
    assert [turn.user for turn in watched.source.turns(watched.root, "new")] == ["question 3"]


def test_a_session_that_was_written_anew_gives_nothing_twice(watched: Watched) -> None:
    for number in (1, 2, 3):
        watched.hermes.turn("s", f"question {number}")
    assert len(watched.given()) == 3
    watched.hermes.db.execute("DELETE FROM messages")
    for number in (1, 2):
        watched.hermes.turn("s", f"question {number}")
    assert watched.given() == []
    watched.hermes.turn("s", "question 4")
    assert [turn.user for turn in watched.given()] == ["question 4"]


# ---------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize("version", [15, 23, "x"])
def test_a_schema_that_was_never_tried_is_told_in_one_sentence(tmp_path: Path, version: int | str) -> None:
    written = HermesDb(tmp_path / "state", version=version)
    source = HermesSource(HermesEvidence(), Redactor(b"tests"), tmp_path / "scratch", lambda: datetime.now(UTC))
    with pytest.raises(UserError, match=rf"schema version {version}, which this MOSS cannot read") as raised:
        list(source.scan(written.root, {}, ()))
    assert "16 to 22" in str(raised.value.mend)
    assert not source.check(written.root).ok
    written.close()


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE schema_version (version INTEGER);",
        "CREATE TABLE schema_version (version INTEGER); CREATE TABLE messages (id INTEGER PRIMARY KEY);",
        SCHEMA.replace("TABLE messages", "TABLE kept").split("CREATE INDEX")[0]
        + "CREATE VIEW messages AS SELECT * FROM kept;",
    ],
)
def test_a_database_of_something_else_is_refused(tmp_path: Path, schema: str) -> None:
    written = HermesDb(tmp_path / "state", schema=schema)
    source = HermesSource(HermesEvidence(), Redactor(b"tests"), tmp_path / "scratch", lambda: datetime.now(UTC))
    with pytest.raises(UserError, match="no table `messages` as Hermes makes it"):
        list(source.scan(written.root, {}, ()))
    assert source.turns(written.root) == [], "in a trial it is the candidate's doing"
    written.close()


@pytest.mark.parametrize("garbage", [b"", b"hello", b"SQLite format 3\0" + b"\xff" * 4096])
def test_what_is_no_database_never_passes_for_an_empty_one(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/state.db").write_bytes(garbage)
    source = HermesSource(HermesEvidence(), Redactor(b"tests"), tmp_path / "scratch", lambda: datetime.now(UTC))
    with pytest.raises(UserError, match=r"state/state\.db"):
        list(source.scan(tmp_path / "state", {}, ()))
    assert source.turns(tmp_path / "state") == []
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_link_in_the_place_of_the_database_is_not_followed(watched: Watched, tmp_path: Path) -> None:
    watched.hermes.turn("s", "secret of another")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/state.db").symlink_to(watched.hermes.path)
    with pytest.raises(UserError, match="cannot be copied"):
        list(watched.source.scan(tmp_path / "other", {}, ()))


@pytest.mark.parametrize("path", ["/etc/passwd", "../state.db"])
def test_a_database_outside_of_the_state_is_refused_in_the_settings(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match="leaves the state folder"):
        HermesSource(HermesEvidence(database=path), Redactor(b""), tmp_path, lambda: datetime.now(UTC))


ANY = st.none() | st.integers(-5, 5) | st.floats() | st.text(max_size=20) | st.binary(max_size=8)
ROLES = st.sampled_from(["user", "assistant", "tool", "system", "else"])
CALLS = st.sampled_from(["[{}]", '[{"function": {"name": "x"}}]', '[{"function": {"name": 1}}]', "[1]", "{}", "["])


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.builds(Row, st.just(1), ROLES, ANY, ANY, ANY | CALLS.map(str.encode), ANY, ANY, ANY), min_size=1, max_size=4
    )
)
def test_any_rows_are_a_turn_or_refused(rows: list[Row]) -> None:
    with contextlib.suppress(BadRows):
        turn = turn_of("s", 1, rows)
        assert Turn.model_validate_json(turn.model_dump_json()).id == "s#1"


# ---------------------------------------------------------------- much of it


def test_a_turn_without_end_is_read_up_to_a_bound(watched: Watched) -> None:
    watched.hermes.row("s", "user", "go")
    with watched.hermes.together():
        for _ in range(10):
            watched.hermes.calls("s", ("read", "{}", "x" * (5 << 20)))
    watched.hermes.row("s", "assistant", "ok", finish_reason="stop")
    (turn,) = watched.given()
    assert (len(turn.tools), turn.reply) == (10, "ok")
    assert sum(len(tool.result) for tool in turn.tools) <= 32 << 20


def test_pieces_are_small_and_turns_that_went_well_are_mostly_passed_by_count(watched: Watched) -> None:
    with watched.hermes.together():
        for number in range(3000):
            tools = [("find", "{}", '{"error": "no"}' if number % 100 == 0 else "ok")]
            watched.hermes.turn(f"s{number % 7}", f"question {number}", tools=tools)
    pieces = watched.scan()
    assert max(len(piece.turns) for piece in pieces) <= hermes.PIECE
    assert sum(piece.counted for piece in pieces) == 3000
    given = [turn for piece in pieces for turn in piece.turns]
    assert sum(1 for turn in given if turn.tools[0].error) == 30
    assert 200 <= len(given) <= 30 + hermes.GUARDS * 2


def test_doctor_says_what_there_is(watched: Watched) -> None:
    watched.hermes.turn("a", "one")
    watched.hermes.turn("b", "two")
    told = watched.source.check(watched.root)
    assert (told.ok, told.detail) == (True, "state.db, schema v22, 2 sessions, 2 turns")
