"""What each detector finds, what it is called, and that the fast scan never misses what a detector would find."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.adapters.evidence.line import write_line
from moss.config import Rule
from moss.domain.case import Where
from moss.domain.detect import BUILTIN, EVERY_LINE, NAME, QUOTE, Detectors, fingerprint_of, result_error, slug
from moss.domain.evidence import Finding, ToolCall, Turn
from moss.testing.samples import NOON


def turn(*tools: ToolCall, **more: object) -> Turn:
    plain = Turn(session="s", ordinal=1, at=NOON, user="hello", reply="hi", tools=tools, status=200, finish="stop")
    return plain.model_copy(update=more)


def tool(**more: object) -> ToolCall:
    return ToolCall(name="refund").model_copy(update=more)


def found(seen: Turn, *names: str) -> list[tuple[str, str]]:
    return [(one.detector, one.fingerprint) for one in Detectors(names or BUILTIN).findings(seen)]


# ------------------------------------------------------------------ built in


def test_a_turn_that_went_well_has_no_findings() -> None:
    assert found(turn(tool(result='{"ok": true, "error": null, "exit_code": 0, "status": "done"}'))) == []
    assert found(turn(tool(result="error: this is only text"))) == []


@pytest.mark.parametrize(
    ("seen", "findings"),
    [
        (turn(tool(error="timeout after 30 ms")), [("tool-error", "tool-error-refund-timeout-after-ms")]),
        (turn(tool(result='{"error": "no such order: 1019"}')), [("tool-error", "tool-error-refund-no-such-order")]),
        (
            turn(tool(exit_code=2, result="usage")),
            [("exit-code", "exit-code-refund-exit-2")],
        ),
        (
            turn(error="the stream was cut after 30 bytes"),
            [("stream-cut", "stream-cut"), ("http-error", "http-error-the-stream-was-cut-after-bytes")],
        ),
        (turn(status=503), [("http-error", "http-error-503")]),
        (turn(status=500, error="boom in tool"), [("http-error", "http-error-boom-in-tool")]),
        (turn(error="boom"), [("http-error", "http-error-boom")]),
        (turn(finish="error"), [("http-error", "http-error")]),
        (turn(finish="length"), [("length", "length")]),
        (turn(finish="length", reply=None), [("length", "length"), ("empty-reply", "empty-reply")]),
        (turn(reply=""), [("empty-reply", "empty-reply")]),
        (turn(status=None), []),
    ],
)
def test_each_built_in_detector_finds_its_kind(seen: Turn, findings: list[tuple[str, str]]) -> None:
    assert found(seen) == findings


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ("", None),
        ("plain words", None),
        ("{broken", None),
        ('{"a":' * 100_000, None),
        ('{"error": false}', None),
        ('{"error": "no"}', "no"),
        ('{"error": {"code": "E1", "message": "m"}}', "E1"),
        ('{"error": {"code": 7, "message": "m"}}', "m"),
        ('{"error": {"x": 1}}', '{"x": 1}'),
        ('{"error": ""}', '""'),
        ('{"error": [1]}', "[1]"),
        ('{"exit_code": 1, "stderr": "bad"}', "exit code 1: bad"),
        ('{"exit_code": 1}', 'exit code 1: ""'),
        ('{"exit_code": "1"}', None),
        ('{"status": "error", "message": "sorry"}', "sorry"),
        ('{"status": "error"}', "status error"),
    ],
)
def test_a_result_tells_of_its_error(result: str, error: str | None) -> None:
    assert result_error(result) == error


# ------------------------------------------------------------------ fingerprints


def test_the_same_defect_has_one_name_for_all_users() -> None:
    errors = [
        'order "1019" of anna@example.org not found at /srv/a/1.db',
        "order '7' of bob@example.org not found at /srv/b/22.db",
    ]
    assert len({found(turn(tool(error=error)))[0][1] for error in errors}) == 1


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    one, two = (found(turn(tool(name="x" * 80, error=error)))[0][1] for error in ("boom", "bang"))
    assert len(one) <= NAME
    assert one != two


@given(st.text(), st.booleans())
def test_any_error_has_a_short_plain_name(text: str, numbers: bool) -> None:
    name = slug(text, numbers)
    assert name == "" or all(word.isalnum() and word.isascii() and word == word.lower() for word in name.split("-"))
    for one in Detectors(BUILTIN).findings(turn(tool(error=text or "x"))):
        assert 0 < len(one.fingerprint) <= NAME
        assert len(one.quote) <= QUOTE


# ------------------------------------------------------------------ the user's own


def rule(**told: object) -> Rule:
    return Rule.model_validate({"name": "mine", **told})


@pytest.mark.parametrize(
    ("told", "seen", "finds"),
    [
        ({"pattern": "refunded"}, turn(tool(result="order 7 refunded twice")), True),
        ({"pattern": "refunded"}, turn(tool(error="order 7 refunded twice")), True),
        ({"pattern": "refunded"}, turn(reply="refunded"), False),
        ({"pattern": "sorry", "where": Where.REPLY}, turn(reply="so sorry"), True),
        ({"pattern": "sorry", "where": Where.REPLY}, turn(reply=None), False),
        ({"pattern": "7", "where": Where.TOOL_ARGUMENTS}, turn(tool(arguments='{"a": 7}')), True),
        ({"pattern": "hello", "where": Where.REQUESTS}, turn(), True),
        ({"pattern": "x", "tool": "find"}, turn(tool(result="x")), False),
        ({"tool": "refund"}, turn(tool()), True),
        ({"tool": "refund"}, turn(), False),
        ({"tool": "refund", "more_than": 1}, turn(tool(), tool()), True),
        ({"tool": "refund", "more_than": 2}, turn(tool(), tool()), False),
        ({"more_than": 0}, turn(tool(name="any")), True),
        ({}, turn(tool()), False),
    ],
)
def test_a_rule_finds_what_it_says(told: dict[str, object], seen: Turn, finds: bool) -> None:
    findings = Detectors((), [rule(**told)]).findings(seen)
    assert [one.fingerprint for one in findings] == (["mine"] if finds else [])


def test_the_users_rule_gives_the_failure_its_name() -> None:
    detectors = Detectors(BUILTIN, [rule(pattern="boom")])
    findings = detectors.findings(turn(tool(error="boom " * 300)))
    assert fingerprint_of(findings) == "mine"
    assert len(findings) == 2
    assert all(len(one.quote) <= QUOTE for one in findings)


def test_where_a_rule_matched_is_told() -> None:
    mine = Detectors((), [rule(pattern=r"order (\d+)", tool="refund"), rule(name="often", tool="x")])
    assert mine.user("nobody") is None
    first, second = mine.user("mine"), mine.user("often")
    assert first is not None
    assert second is not None
    match = first.match(turn(tool(result="order 7")))
    assert match is not None
    assert match[1] == "7"
    assert first.match(turn()) is None
    assert second.match(turn(tool(name="x"))) is None


class Raising:
    name, signals = "raising", (b"x",)

    def findings(self, turn: Turn) -> Iterator[Finding]:
        yield from Detectors(["length"]).findings(turn)
        raise KeyError("oops")


def test_a_detector_that_raises_is_reported_and_the_others_are_heard() -> None:
    detectors = Detectors(["length"])
    detectors._all = (Raising(), *detectors._all)
    findings, broken = detectors.look(turn(finish="length", reply=None))
    assert [one.detector for one in findings] == ["length", "length"]
    assert [(one.detector, one.because) for one in broken] == [("raising", "detector raising: KeyError: 'oops'")]


def test_an_unknown_detector_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Detectors(["nonsense"])


# ------------------------------------------------------------------ the fast scan misses nothing

TOLD = ["timeout", "the stream was cut", "ledger audit: order 7", '{"error": "x"}']
TEXT = st.text(max_size=30) | st.sampled_from(TOLD)
TELLING = st.none() | st.integers(0, 3) | st.just("error")
RESULT = TEXT | st.builds(json.dumps, st.dictionaries(st.sampled_from(["error", "exit_code", "status", "x"]), TELLING))
TOOL = st.builds(
    ToolCall,
    name=st.sampled_from(["refund", "find", 'a"b']),
    result=RESULT,
    error=st.none() | TEXT,
    exit_code=st.none() | st.integers(-2, 2),
)
TURN = st.builds(
    turn,
    TOOL,
    reply=st.none() | TEXT,
    error=st.none() | TEXT,
    status=st.none() | st.integers(200, 599),
    finish=st.none() | st.sampled_from(["stop", "length", "error"]),
)
RULES = st.builds(
    rule,
    pattern=st.none() | st.sampled_from(["audit: order", "ab", r"order \d", "x|y", "stream.was", "a/bcd", "é"]),
    tool=st.none() | st.sampled_from(["refund", 'a"b']),
    more_than=st.none() | st.integers(0, 1),
    where=st.sampled_from(Where),
)


@given(TURN, RULES)
def test_a_turn_with_a_finding_holds_a_signal_in_its_line(seen: Turn, own: Rule) -> None:
    line = write_line(seen)
    for name in BUILTIN:
        one = Detectors([name])
        if one.findings(seen) and not (name == "empty-reply" and seen.reply is None):
            assert any(signal in line for signal in one.signals), name
    mine = Detectors((), [own])
    if mine.findings(seen):
        assert any(signal in line for signal in mine.signals)


@pytest.mark.parametrize(
    ("told", "signal"),
    [
        ({"pattern": "x.*y", "signal": "xy"}, b"xy"),
        ({"pattern": "ledger audit. order"}, b"ledger audit"),
        ({"pattern": "a|b"}, EVERY_LINE),
        ({"pattern": "ab"}, EVERY_LINE),
        ({"pattern": "größer"}, EVERY_LINE),
        ({"tool": "refund"}, b'"refund"'),
        ({"tool": 'a"b'}, EVERY_LINE),
        ({}, EVERY_LINE),
    ],
)
def test_the_signal_of_a_rule_follows_from_it(told: dict[str, object], signal: bytes) -> None:
    assert Detectors((), [rule(**told)]).signals == (signal,)
