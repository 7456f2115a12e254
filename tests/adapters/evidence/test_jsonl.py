"""What only files do: rotation, rewriting, links, half lines, hostile bytes, and sessions of any size."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moss.adapters.evidence import jsonl
from moss.adapters.evidence.blocks import LONGEST
from moss.adapters.evidence.jsonl import JsonlSource
from moss.adapters.evidence.line import write_line
from moss.config import JsonlEvidence
from moss.domain.evidence import Turn
from moss.domain.redact import Redactor
from moss.errors import UserError
from moss.ports import Cursor, Rejected, Scan
from moss.testing.conformance.evidence import MAIL, failed, said

SIGNALS = (b'"error"',)


class Log:
    """One file of sessions, a source over it, and the cursors of its scans."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "sessions" / "s1.jsonl"
        self.path.parent.mkdir(parents=True)
        self.cursors: dict[str, Cursor] = {}
        self.source = self.fresh()

    def fresh(self) -> JsonlSource:
        """As after a restart."""
        return JsonlSource(JsonlEvidence(), Redactor(b"tests"))

    def write(self, *items: Turn | bytes, to: Path | None = None) -> None:
        with (to or self.path).open("ab") as file:
            for item in items:
                file.write(item if isinstance(item, bytes) else write_line(item))

    def scan(self, signals: Sequence[bytes] = SIGNALS) -> list[Scan]:
        pieces = []
        for piece in self.source.scan(self.root, dict(self.cursors), signals):
            pieces.append(piece)
            self.cursors.update({cursor.session: cursor for cursor in piece.cursors})
        return pieces


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def rejected(pieces: Sequence[Scan]) -> list[Rejected]:
    return [item for piece in pieces for item in piece.rejected]


def test_an_unfinished_last_line_waits_for_its_end(log: Log) -> None:
    line = write_line(said("s1", 2, failed=True))
    log.write(said("s1", 1, failed=True), line[:40])
    assert failed(log.scan()) == ["s1#1"]
    log.write(line[40:-1])
    assert failed(log.scan()) == []
    log.write(b"\n")
    assert failed(log.scan()) == ["s1#2"]


def test_a_rotated_file_is_read_on_under_its_new_name(log: Log) -> None:
    log.write(said("s1", 1, failed=True))
    log.scan()
    log.write(said("s1", 2, failed=True))
    log.path.rename(log.path.with_name("s1.1.jsonl"))
    log.write(said("s1", 3, failed=True))
    assert sorted(failed(log.scan())) == ["s1#2", "s1#3"]


def test_a_file_that_was_written_anew_is_read_from_its_beginning(log: Log) -> None:
    log.write(said("s1", 1, failed=True), said("s1", 2))
    log.scan()
    log.path.unlink()
    log.write(said("s1", 1, failed=True, user="another"), said("s1", 2, failed=True))
    assert failed(log.scan()) == ["s1#1", "s1#2"]


def test_a_strange_cursor_starts_over(log: Log) -> None:
    log.write(said("s1", 1, failed=True))
    log.scan()
    log.cursors = {name: Cursor(name, "what is this") for name in log.cursors}
    assert failed(log.scan()) == ["s1#1"]


def test_a_link_out_of_the_state_is_refused_and_not_read(log: Log, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    log.write(said("stolen", 1, failed=True), to=secret)
    (log.root / "sessions" / "link.jsonl").symlink_to(secret)
    log.write(said("s1", 1, failed=True))
    pieces = log.scan()
    assert failed(pieces) == ["s1#1"]
    assert [item.where for item in rejected(pieces)] == ["sessions/link.jsonl"]
    assert [turn.session for turn in log.source.turns(log.root)] == ["s1"]
    assert not log.source.history(log.root, "stolen", 2, 5)


def test_a_glob_that_leaves_the_state_is_refused() -> None:
    for glob in ("../*.jsonl", "/etc/*", "a/../../b"):
        with pytest.raises(UserError, match="leaves the state folder"):
            JsonlSource(JsonlEvidence(glob=glob), Redactor(b"tests"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file: run the tests as a user")
def test_a_file_without_the_right_to_read_raises_after_the_rest_was_read(log: Log) -> None:
    log.write(said("s1", 1, failed=True))
    log.write(said("s2", 1, failed=True), to=log.path.with_name("a.jsonl"))
    log.path.with_name("a.jsonl").chmod(0)
    pieces = []
    with pytest.raises(UserError, match="all else was scanned"):
        pieces += log.source.scan(log.root, {}, SIGNALS)
    assert failed(pieces) == ["s1#1"]


def test_a_folder_in_place_of_a_file_is_passed(log: Log) -> None:
    (log.root / "sessions" / "odd.jsonl").mkdir()
    log.write(said("s1", 1, failed=True))
    assert failed(log.scan()) == ["s1#1"]


BAD = {
    "not JSON": b"{oops\n",
    "no object": b"[1, 2]\n",
    "no version": b'{"session": "s"}\n',
    "another version": b'{"v":2,"session":"s"}\n',
    "an unknown key": json.dumps({"v": 1, "x": 1}).encode() + b"\n",
    "not UTF-8": b'{"v":1,"session":"\xff\xfe"}\n',
    "a NUL": b'{"v":1,"session":"\\u0000"}\n',
    "nested to death": b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"\n",
    "no time zone": write_line(said("s1", 1)).replace(b"12:01:00Z", b"12:01:00"),
    "MOSS's own keys": write_line(said("s1", 1)).replace(b'{"v":1,', b'{"v":1,"redacted":3,'),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_line_that_is_no_turn_is_refused_with_its_place_and_the_rest_is_read(log: Log, bad: str) -> None:
    log.write(said("s1", 1, failed=True), BAD[bad], said("s1", 2, failed=True))
    pieces = log.scan()
    assert failed(pieces) == ["s1#1", "s1#2"]
    assert len(rejected(pieces)) == 1
    told = rejected(pieces)[0]
    assert told.where.startswith("sessions/s1.jsonl byte ")
    assert "\n" not in told.because
    assert sum(piece.counted for piece in pieces) == 2
    assert not log.source.check(log.root).ok
    assert [turn.ordinal for turn in log.source.turns(log.root)] == [1, 2]


def test_a_huge_line_is_refused_unread(log: Log) -> None:
    log.write(said("s1", 1, failed=True), b"x" * (LONGEST + (3 << 20)) + b"\n", said("s1", 2, failed=True))
    pieces = log.scan()
    assert failed(pieces) == ["s1#1", "s1#2"]
    assert "bytes, at most" in rejected(pieces)[0].because
    assert rejected(log.scan()) == rejected(pieces)


def test_a_huge_line_without_an_end_waits(log: Log) -> None:
    log.write(said("s1", 1, failed=True), b"x" * (LONGEST + (3 << 20)))
    assert failed(log.scan()) == ["s1#1"]
    assert rejected(log.scan()) == []


def test_a_file_in_another_format_stops_early_and_says_so(log: Log) -> None:
    log.write(*[b"2026-11-25 INFO hello\n"] * (jsonl.MOST_BAD + 5000))
    pieces = log.scan()
    assert "are not in the format" in rejected(pieces)[-1].because
    assert len(rejected(pieces)) == jsonl.MOST_BAD + 1
    assert len(rejected(log.scan())) == jsonl.MOST_BAD + 1


def test_blank_lines_are_nothing(log: Log) -> None:
    log.write(b"\n \n", said("s1", 1, failed=True), b"\n\n", said("s1", 2))
    pieces = log.scan()
    assert failed(pieces) == ["s1#1"]
    assert not rejected(pieces)
    assert sum(piece.counted for piece in pieces) == 2


def test_a_large_log_is_passed_by_count_and_its_failures_are_found(log: Log) -> None:
    turns = [said("s1", ordinal, failed=ordinal % 500 == 0, user="word " * 400) for ordinal in range(1, 3001)]
    log.write(*turns)
    assert log.path.stat().st_size > jsonl.SMALL
    pieces = log.scan()
    assert failed(pieces) == [f"s1#{ordinal}" for ordinal in range(500, 3001, 500)]
    assert sum(piece.counted for piece in pieces) == 3000
    assert sum(piece.sessions for piece in pieces) == 1
    given = sum(len(piece.turns) for piece in pieces)
    assert 100 < given < 600


def test_a_writer_with_blanks_behind_colons_is_understood(log: Log) -> None:
    spaced = [json.dumps(json.loads(write_line(said("s1", n, failed=n == 7)))) for n in range(1, 3000)]
    padded = [line.replace('"question', '"' + "word " * 400) for line in spaced]
    log.write(*(line.encode() + b"\n" for line in padded))
    pieces = log.scan((b'"error"', b'"status":5'))
    assert failed(pieces) == ["s1#7"]
    assert sum(piece.counted for piece in pieces) == 2999


def test_a_turn_without_a_reply_is_given_whatever_the_signals_say(log: Log) -> None:
    turns = [said("s1", n, user="word " * 400, reply=None if n == 2000 else "yes") for n in range(1, 3000)]
    log.write(*turns)
    assert "s1#2000" in [turn.id for piece in log.scan((b"nowhere",)) for turn in piece.turns]


def test_a_session_whose_name_is_redacted_is_found_after_a_restart(log: Log) -> None:
    path = log.path.with_name(f"{MAIL}.jsonl")
    log.write(said(MAIL, 1), said(MAIL, 2, failed=True), to=path)
    name = next(turn.session for piece in log.scan() for turn in piece.turns)
    assert name != MAIL
    assert [turn.ordinal for turn in log.fresh().history(log.root, name, 3, 5)] == [1, 2]


def test_the_past_of_a_session_in_a_large_shared_file_is_found(log: Log) -> None:
    shared = log.path.with_name("all.jsonl")
    for ordinal in range(1, 6):
        log.write(*(said(f"s{n}", ordinal, user="word " * 100) for n in range(300)), to=shared)
    found = log.source.history(log.root, "s123", 5, 3)
    assert [turn.id for turn in found] == ["s123#2", "s123#3", "s123#4"]


def test_no_folder_and_no_files_are_two_things(log: Log) -> None:
    assert log.scan() == []
    assert log.source.check(log.root).detail == "jsonl v1, 0 files, 0.0 MB"
    with pytest.raises(UserError, match="no such state folder"):
        log.source.turns(log.root / "nowhere")
    nowhere = log.source.check(log.root / "nowhere")
    assert not nowhere.ok
    assert "live.state" in (nowhere.mend or ""), "not the right to read, which nobody took away"


LINE = st.one_of(
    st.binary(max_size=60),
    st.builds(lambda n: write_line(said("s1", n, failed=True))[:-1], st.integers(1, 9)),
    st.builds(lambda n, cut: write_line(said("s1", n))[:cut], st.integers(1, 9), st.integers(0, 200)),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(LINE, max_size=8), st.integers(0, 400))
def test_any_bytes_in_any_two_pieces_give_the_same_turns_and_never_fail(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cut: int
) -> None:
    data = b"".join(line + b"\n" for line in lines)
    whole, parts = Log(tmp_path_factory.mktemp("whole")), Log(tmp_path_factory.mktemp("parts"))
    whole.write(data)
    once = whole.scan()
    twice: list[Scan] = []
    for piece in (data[:cut], data[cut:]):
        parts.write(piece)
        twice += parts.scan()
    assert failed(once) == failed(twice)
    assert sum(piece.counted for piece in once) == sum(piece.counted for piece in twice)
    assert {item.raw_sha for item in rejected(once)} == {item.raw_sha for item in rejected(twice)}
