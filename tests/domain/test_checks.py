"""Every kind of machine check, met and not met, and what no observation may do to it."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from moss.domain.case import (
    Case,
    CaseKind,
    Check,
    Contains,
    ExitCode,
    FileOnVolume,
    Grader,
    JsonPath,
    JsonSchema,
    Keypoint,
    Latency,
    Level,
    Regex,
    Rubric,
    Silent,
    Status,
    ToolCalled,
    ToolOrder,
    Where,
)
from moss.domain.checks import REGEX_TEXT, mark, trial_passes
from moss.domain.evidence import Chunk, Exchange, Finding, Observed, ToolCall, Turn
from moss.domain.ids import CaseId, Digest, FailureId, Fingerprint
from moss.domain.trial import Answer, Mark, Observation

AT = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = Observation(answer=Answer(error="refused"))
FINDING = Finding(detector="tool-error", fingerprint=Fingerprint("f"), quote="boom")


def turn(*tools: ToolCall, reply: str | None = "fine") -> Turn:
    return Turn(session="s", ordinal=1, at=AT, user="u", reply=reply, tools=tools)


def record(*names: str, outcome: str = "ok") -> tuple[Exchange, ...]:
    """A gateway's record in which the model asked for these tools and the agent answered each."""
    calls = [
        {"id": f"c{k}", "function": {"name": name, "arguments": json.dumps({"call": k})}}
        for k, name in enumerate(names)
    ]
    results = [{"role": "tool", "tool_call_id": f"c{k}", "content": outcome} for k in range(len(names))]
    bodies = [({"messages": []}, {"tool_calls": calls}), ({"messages": results}, {"content": "done"})]
    return tuple(
        Exchange(
            ordinal=ordinal,
            at=AT,
            upstream="main",
            path="/v1/chat/completions",
            request=json.dumps(request).encode(),
            canonical=Digest("sha256:" + "0" * 64),
            status=200,
            chunks=(Chunk(data=json.dumps({"choices": [{"message": message}]}).encode()),),
        )
        for ordinal, (request, message) in enumerate(bodies, 1)
    )


def seen(text: str = "", body: object = None, **more: object) -> Observation:
    raw = body if isinstance(body, str) else json.dumps(body)
    return Observation(answer=Answer(status=200, text=text, body=raw)).model_copy(update=more)


def point(check: Check, observed: Observed = Observed.HTTP) -> Keypoint:
    return Keypoint(id="k", says="it holds", check=check, positive=True, observed=observed)


def level(check: Check, observation: Observation, observed: Observed = Observed.HTTP) -> Level:
    return mark(point(check, observed), observation).level


CALLED, NOT_CALLED = ToolCalled(tool="refund"), ToolCalled(tool="refund", at_least=0, at_most=0)
BY_GATEWAY, BY_TRANSCRIPT = Observed.GATEWAY, Observed.TRANSCRIPT
RESULTS = Contains(where=Where.TOOL_RESULTS, text="ok")
LONG = "a" * REGEX_TEXT
ERROR = ToolCall(name="refund", result="r", error="boom", exit_code=1)
SCHEMA = JsonSchema(schema_text='{"type": "object", "required": ["id"]}')

HOLDS: list[tuple[Check, Observation, Observed]] = [
    (Contains(text="paid"), seen("it is paid back"), Observed.HTTP),
    (Contains(text="paid", absent=True), seen("no"), Observed.HTTP),
    (Contains(text="fine"), seen(turn=turn()), BY_TRANSCRIPT),
    (Regex(pattern=r"pa.d"), seen("paid"), Observed.HTTP),
    (Regex(pattern="b", absent=True), seen(LONG), Observed.HTTP),
    (Regex(pattern="a$"), seen("a" * (2 * REGEX_TEXT)), Observed.HTTP),
    (RESULTS, seen(exchanges=record("refund")), BY_GATEWAY),
    (Contains(where=Where.TOOL_RESULTS, text="boom"), seen(turn=turn(ERROR)), BY_TRANSCRIPT),
    (Contains(where=Where.TOOL_ARGUMENTS, text='"call": 0'), seen(exchanges=record("refund")), BY_GATEWAY),
    (Contains(where=Where.REQUESTS, text="c0"), seen(exchanges=record("refund")), BY_GATEWAY),
    (JsonPath(path="a.1.b", equals=3), seen(body={"a": [0, {"b": 3}]}), Observed.HTTP),
    (JsonPath(path="a"), seen(body={"a": None}), Observed.HTTP),
    (JsonPath(path="a", exists=True), seen(body={"a": 1}), Observed.HTTP),
    (JsonPath(path="a.0", exists=False), seen(body={"a": []}), Observed.HTTP),
    (JsonPath(path="a", exists=True, equals="x"), seen(body={"a": "x"}), Observed.HTTP),
    (SCHEMA, seen(body={"id": 1}), Observed.HTTP),
    (Status(), seen(), Observed.HTTP),
    (CALLED, seen(exchanges=record("refund")), BY_GATEWAY),
    (CALLED, seen(turn=turn(ToolCall(name="refund"))), BY_TRANSCRIPT),
    (NOT_CALLED, seen(exchanges=record("other")), BY_GATEWAY),
    (ToolCalled(tool="refund", matching='"call": 1'), seen(exchanges=record("other", "refund")), BY_GATEWAY),
    (ToolCalled(tool="refund", succeeds=True), seen(exchanges=record("refund")), BY_GATEWAY),
    (ToolOrder(tools=("a", "c")), seen(exchanges=record("a", "b", "c")), BY_GATEWAY),
    (ExitCode(), seen(answer=Answer(exit_code=0)), Observed.HTTP),
    (Latency(at_most_seconds=1), seen(answer=Answer(seconds=1.0)), Observed.HTTP),
    (FileOnVolume(path="x"), seen(files={"x": ""}), Observed.VOLUME),
    (FileOnVolume(path="x", contains="y"), seen(files={"x": "xyz"}), Observed.VOLUME),
    (Silent(detector="other"), seen(turn=turn(), findings=(FINDING,)), BY_TRANSCRIPT),
]

FAILS: list[tuple[Check, Observation, Observed, str]] = [
    (Contains(text="paid"), seen("no"), Observed.HTTP, "not in the reply"),
    (Contains(text="paid", absent=True), seen("paid"), Observed.HTTP, "still in the reply"),
    (Contains(text="paid", absent=True), NOTHING, Observed.HTTP, "no reply to look at"),
    (Contains(text="fine", absent=True), seen(), BY_TRANSCRIPT, "no reply"),
    (Contains(text="x", absent=True), seen(turn=turn(reply=None)), BY_TRANSCRIPT, "no reply"),
    (Regex(pattern="z"), seen("a"), Observed.HTTP, "not in the reply"),
    (Regex(pattern="b", absent=True), seen(LONG + "b"), Observed.HTTP, "cannot be told"),
    (RESULTS, seen(), BY_GATEWAY, "no tool results to look at"),
    (RESULTS, seen(), BY_TRANSCRIPT, "no tool results to look at"),
    (Contains(where=Where.REQUESTS, text="x", absent=True), seen(), BY_GATEWAY, "no requests"),
    (JsonPath(path="a", equals=1), seen(body={"a": True}), Observed.HTTP, "another value"),
    (JsonPath(path="a", equals=1), seen(body={"a": 2}), Observed.HTTP, "another value"),
    (JsonPath(path="a"), seen(body={"a": 0}), Observed.HTTP, "another value"),
    (JsonPath(path="a.7"), seen(body={"a": [1]}), Observed.HTTP, "not there"),
    (JsonPath(path="a.²"), seen(body={"a": [1, 2, 3]}), Observed.HTTP, "not there"),
    (JsonPath(path="a", exists=False), seen(body={"a": 1}), Observed.HTTP, "a is there"),
    (JsonPath(path="a", exists=False), seen(body="{"), Observed.HTTP, "no JSON"),
    (SCHEMA, seen(body={}), Observed.HTTP, "at $ (required)"),
    (SCHEMA, seen(body="{"), Observed.HTTP, "no JSON"),
    (JsonSchema(schema_text='{"$ref": "http://127.0.0.1:9/x"}'), seen(body={}), Observed.HTTP, "cannot be used"),
    (JsonSchema(schema_text='{"$ref": "#"}'), seen(body={}), Observed.HTTP, "RecursionError"),
    (Status(), seen(answer=Answer(status=500)), Observed.HTTP, "status 500"),
    (Status(), NOTHING, Observed.HTTP, "status none"),
    (CALLED, seen(exchanges=record("other"), turn=turn(ToolCall(name="refund"))), BY_GATEWAY, "called 0 times"),
    (CALLED, seen(), BY_TRANSCRIPT, "nothing was seen"),
    (NOT_CALLED, seen(), BY_GATEWAY, "nothing was seen"),
    (NOT_CALLED, seen(exchanges=record("refund")), BY_GATEWAY, "called 1 times"),
    (ToolCalled(tool="a", at_most=1), seen(exchanges=record("a", "a")), BY_GATEWAY, "called 2 times"),
    (ToolCalled(tool="a", matching="z"), seen(exchanges=record("a")), BY_GATEWAY, "0 times with such arguments"),
    (
        ToolCalled(tool="a", succeeds=True),
        seen(exchanges=record("a", outcome='{"error": "no"}')),
        BY_GATEWAY,
        "0 times successfully",
    ),
    (ToolCalled(tool="refund", succeeds=True), seen(turn=turn(ERROR)), BY_TRANSCRIPT, "0 times successfully"),
    (ToolOrder(tools=("c", "a")), seen(exchanges=record("a", "b", "c")), BY_GATEWAY, "not called in that order"),
    (ToolOrder(tools=("c", "a")), seen(), BY_TRANSCRIPT, "not called in that order"),
    (ExitCode(), NOTHING, Observed.HTTP, "exit code none"),
    (ExitCode(equals=3), seen(answer=Answer(exit_code=0)), Observed.HTTP, "exit code 0"),
    (Latency(at_most_seconds=1), seen(answer=Answer(seconds=1.5)), Observed.HTTP, "1.5 s"),
    (Latency(at_most_seconds=1), NOTHING, Observed.HTTP, "refused"),
    (FileOnVolume(path="x"), seen(), Observed.VOLUME, "x is not there"),
    (FileOnVolume(path="x", contains="y"), seen(files={"x": "z"}), Observed.VOLUME, "does not hold what it should"),
    (Silent(detector="tool-error"), seen(turn=turn(), findings=(FINDING,)), BY_TRANSCRIPT, "tool-error: boom"),
    (Silent(detector="tool-error"), seen(), BY_TRANSCRIPT, "no transcript"),
    (Rubric(sentence="polite"), seen("thanks"), Observed.HTTP, "no juror"),
]


@pytest.mark.parametrize(("check", "observation", "observed"), HOLDS)
def test_a_check_that_holds_is_strong(check: Check, observation: Observation, observed: Observed) -> None:
    assert mark(point(check, observed), observation) == Mark(keypoint="k", level=Level.STRONG)


@pytest.mark.parametrize(("check", "observation", "observed", "because"), FAILS)
def test_a_check_that_does_not_hold_is_missing_with_its_reason(
    check: Check, observation: Observation, observed: Observed, because: str
) -> None:
    marked = mark(point(check, observed), observation)
    assert marked.level is Level.MISSING
    assert because in marked.because


@pytest.mark.parametrize(
    ("code", "graded"),
    [(0, Level.STRONG), (10, Level.ADEQUATE), (11, Level.WEAK), (1, Level.MISSING), (137, Level.MISSING)],
)
def test_a_graders_exit_code_is_its_level(code: int, graded: Level) -> None:
    assert level(Grader(name="g", argv=("x",)), seen(graded={"k": code})) is graded


def test_a_grader_that_never_ran_is_missing() -> None:
    assert mark(point(Grader(name="g", argv=("x",))), seen()).because == "grader g exited never"


SECRET = "the-expected-answer"


@pytest.mark.parametrize(
    "check",
    [
        Contains(text=SECRET),
        Regex(pattern=SECRET),
        JsonPath(path="a", equals=SECRET),
        JsonSchema(schema_text=json.dumps({"properties": {"a": {"const": SECRET}}})),
        FileOnVolume(path="x", contains=SECRET),
        ToolCalled(tool="refund", matching=SECRET),
    ],
)
def test_a_reason_never_tells_the_expected_text(check: Check) -> None:
    observation = seen(body={"a": "b"}, files={"x": ""}, exchanges=record("refund"))
    marked = mark(point(check, BY_GATEWAY), observation)
    assert marked.level is Level.MISSING
    assert SECRET not in marked.because


@pytest.mark.parametrize(
    ("kind", "field", "bad", "because"),
    [
        (Regex, "pattern", "(", "not a regular expression"),
        (JsonSchema, "schema_text", "{", "not JSON"),
        (JsonSchema, "schema_text", '{"type": 3}', "not a JSON Schema"),
    ],
)
def test_a_check_that_could_never_work_is_refused_when_it_is_read(
    kind: type, field: str, bad: str, because: str
) -> None:
    with pytest.raises(ValidationError, match=because):
        kind(**{field: bad})


def test_a_bad_pattern_for_arguments_is_refused_when_it_is_read() -> None:
    with pytest.raises(ValidationError, match="not a regular expression"):
        ToolCalled(tool="t", matching="[")
    assert ToolCalled(tool="t", matching=None).matching is None


# ------------------------------------------------------------------ does a trial pass


def case(*points: Keypoint, findings: tuple[Finding, ...] = (FINDING,)) -> Case:
    return Case(
        id=CaseId("c"), kind=CaseKind.FAILURE, source=FailureId("s#1"), turn=turn(), keypoints=points, findings=findings
    )


def levels(**marks: Level) -> list[Mark]:
    return [Mark(keypoint=name, level=one) for name, one in marks.items()]


def test_a_trial_passes_with_every_keypoint_adequate_and_the_detector_silent() -> None:
    two = case(point(Status()), point(Status()).model_copy(update={"id": "j"}))
    assert trial_passes(two, levels(k=Level.ADEQUATE, j=Level.STRONG), ())
    assert not trial_passes(two, levels(k=Level.WEAK, j=Level.STRONG), ())
    assert not trial_passes(two, levels(k=Level.STRONG), ())


def test_a_trial_fails_while_the_detector_that_recognised_its_failure_speaks() -> None:
    other = FINDING.model_copy(update={"detector": "length"})
    assert not trial_passes(case(point(Status())), levels(k=Level.STRONG), (FINDING,))
    assert trial_passes(case(point(Status())), levels(k=Level.STRONG), (other,))
    assert trial_passes(case(point(Status()), findings=()), levels(k=Level.STRONG), (FINDING,))


CHECKS = [row[0] for row in HOLDS] + [row[0] for row in FAILS]


@given(
    st.sampled_from(CHECKS),
    st.sampled_from(list(Observed)),
    st.text(max_size=50) | st.sampled_from(["[" * 50_000, "9" * 6000, '{"a": 1e999}', '{"id": NaN}', "\x00", "\ud800"]),
    st.binary(max_size=50),
)
@settings(max_examples=200, deadline=None)
def test_no_observation_makes_a_check_raise(check: Check, observed: Observed, text: str, data: bytes) -> None:
    exchanges = tuple(one.model_copy(update={"request": data, "chunks": (Chunk(data=data),)}) for one in record("a"))
    hostile = seen(
        text, text, exchanges=exchanges, turn=turn(ToolCall(name=text, arguments=text), reply=text), files={"x": text}
    )
    assert mark(point(check, observed), hostile).level in Level
