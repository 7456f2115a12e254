"""The fast pass beside the slow way: what it gives out holds every failure, and its counts are those of reading all."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moss.adapters.evidence.blocks import LONGEST, ROOM
from moss.adapters.evidence.line import BadLine, read_line
from moss.adapters.evidence.sieve import Line, Sieve, Spread
from moss.config import EvidenceSettings
from moss.domain.detect import Detectors

DETECTORS = Detectors(EvidenceSettings().builtin)
BLOCK = 2048
TEXT = st.text(max_size=30) | st.sampled_from(
    ('"status":500', '"reply":""', '"reply":"', '{"error": "no"}', "a\nb", '\\"error', "x" * 900, "exit_code", '"')
)
RESULT = TEXT | st.sampled_from(('{"ok": true}', '{"error": "no"}', '{"exit_code": 3}', '{"status": "error"}'))
TOOL = st.fixed_dictionaries(
    {"name": st.just("refund"), "result": RESULT},
    optional={"error": st.none() | TEXT, "exit_code": st.none() | st.integers(0, 2), "arguments": TEXT},
)
TURN = st.fixed_dictionaries(
    {"session": st.just("s1"), "ordinal": st.integers(1, 3), "at": st.just("2026-11-02T10:00:00Z"), "user": TEXT},
    optional={
        "reply": st.none() | st.just("") | TEXT,
        "tools": st.lists(TOOL, max_size=2),
        "status": st.sampled_from((None, 200, 200, 404, 500)),
        "finish": st.sampled_from((None, "stop", "stop", "length", "error")),
        "error": st.none() | TEXT,
    },
)
USUAL = {"v": 1, "session": "s1", "ordinal": 2, "at": "2026-11-02T10:00:00Z", "user": "u", "reply": "yes"}


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A turn as some writer has it: compact or with blanks, its keys in any order; or no turn at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from((b"", b" ", b"{}", b"\xff", b'{"v": 2}', b'"reply":"')))
    turn = draw(TURN)
    keys = draw(st.permutations(sorted(turn))) if draw(st.booleans()) else list(turn)
    separators = draw(st.sampled_from(((",", ":"), (", ", ": "))))
    plain = {"v": 1} | {key: turn[key] for key in keys}
    return json.dumps(plain, separators=separators, ensure_ascii=draw(st.booleans())).encode()


def usual(**changed: object) -> bytes:
    return json.dumps(USUAL | {"status": 200, "finish": "stop"} | changed, separators=(",", ":")).encode()


def sieved(path: Path, data: bytes, block: int = BLOCK) -> tuple[list[Line], int | None, int]:
    """Lines that are given out; turns, those of uncounted blocks read as they are given; byte up to which it went."""
    path.write_bytes(data)
    given, turns, end = list[Line](), 0, 0
    with path.open("rb", buffering=0) as file:
        for passed in Sieve(DETECTORS.signals, block).blocks(file.fileno(), 0, Spread(1 << 40)):
            given += passed.lines
            turns += len(passed.lines) if passed.turns is None else passed.turns
            assert passed.end > end
            end = passed.end
    return given, turns, end


def failing(raw: bytes) -> bool:
    try:
        return bool(DETECTORS.findings(read_line(raw)))
    except BadLine:
        return False


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(lines() | st.just(usual()), max_size=40))
def test_no_failure_and_no_line_is_passed_over(tmp_path: Path, written: Sequence[bytes]) -> None:
    data = b"".join(line + b"\n" for line in written)
    given, turns, end = sieved(tmp_path / "log", data)
    assert end == len(data)
    assert turns == sum(bool(line.strip()) for line in written)
    assert [line.at for line in given] == sorted({line.at for line in given})
    for line in given:
        assert data[line.at : line.at + line.size] == line.raw + b"\n"
    looked_at = {line.at for line in given if line.wanted}
    at = 0
    for raw in written:
        assert at in looked_at or not failing(raw), raw
        at += len(raw) + 1


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, ROOM, ROOM + 1, 3 * ROOM, LONGEST])
def test_a_line_that_is_longer_than_a_block_is_put_together(tmp_path: Path, size: int) -> None:
    long = usual(user="u" * (size - len(usual(user=""))), status=500)
    assert len(long) == size
    given, turns, _ = sieved(tmp_path / "log", b"\n".join((usual(), long, usual(), b"")), max(BLOCK, size // 64))
    assert turns == 3
    assert [line.raw for line in given if line.raw not in (usual(), b"")] == [long]


def test_a_line_that_is_too_long_is_passed_with_its_size_and_the_next_is_read(tmp_path: Path) -> None:
    long, after = b"x" * (LONGEST + (3 << 20)), usual(status=500)
    given, turns, end = sieved(tmp_path / "log", b"\n".join((usual(), long, after, b"")), 1 << 20)
    assert [(line.raw, line.size) for line in given[1:]] == [(b"", len(long) + 1), (after, len(after) + 1)]
    assert (turns, end) == (3, len(usual()) + len(long) + len(after) + 3)
