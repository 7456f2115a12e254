"""How failures and guards become cases, and which candidates the derived keypoints let pass."""

import contextlib
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.config import Rule, RuleKeypoint
from moss.domain.case import (
    Case,
    Check,
    Contains,
    ExitCode,
    FileOnVolume,
    Grader,
    JsonPath,
    JsonSchema,
    Latency,
    Level,
    Regex,
    Rubric,
    Silent,
    Status,
    ToolCalled,
    ToolOrder,
    Where,
    World,
)
from moss.domain.cases import DEEDS, MOST, failure_case, guard_case, observed_of, parse_expect
from moss.domain.checks import mark, trial_passes
from moss.domain.detect import BUILTIN, Detectors
from moss.domain.evidence import Chunk, Exchange, Failure, Guard, Observed, ToolCall, Turn
from moss.domain.ids import CaseId, Digest
from moss.domain.trial import Answer, Mark, Observation
from moss.errors import UserError
from moss.testing.samples import NOON

DETECTORS = Detectors(BUILTIN)
NAME = CaseId("c-1")


def turn(*tools: ToolCall, user: str = "Please refund order 7", reply: str | None = "done", **more: object) -> Turn:
    plain = Turn(session="s", ordinal=1, at=NOON, user=user, reply=reply, tools=tools, status=200, finish="stop")
    return plain.model_copy(update=more)


def tool(name: str = "refund", result: str = '{"ok": true}', error: str | None = None) -> ToolCall:
    return ToolCall(name=name, arguments='{"order": 7}', result=result, error=error)


def failure(seen: Turn, detectors: Detectors = DETECTORS, **more: object) -> Failure:
    findings = detectors.findings(seen)
    name = findings[0].fingerprint if findings else "flagged-x"
    plain = Failure(id=seen.id, fingerprint=name, turn=seen, findings=findings)  # type: ignore[arg-type]
    return plain.model_copy(update=more)


def case_of(seen: Turn, *expect: str, detectors: Detectors = DETECTORS) -> Case:
    return failure_case(failure(seen, detectors, expect=expect), NAME, detectors, World())


def points(case: Case) -> list[str]:
    return [point.id for point in case.keypoints]


# ------------------------------------------------------------------ what a candidate may do

BROKEN = turn(tool(result="", error="timeout after 30 s"))
ASKED = {"messages": [{"role": "user", "content": BROKEN.user}]}


def exchange(ordinal: int, request: object, *calls: str, text: str = "") -> Exchange:
    told = [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in calls]
    body = {"choices": [{"message": {"content": text, "tool_calls": told}}]}
    return Exchange(
        ordinal=ordinal,
        at=NOON,
        upstream="main",
        path="/v1/chat/completions",
        request=json.dumps(request).encode(),
        canonical=Digest("sha256:" + "0" * 64),
        status=200,
        chunks=(Chunk(data=json.dumps(body).encode()),),
    )


def results(content: str) -> dict[str, object]:
    row = {"role": "tool", "tool_call_id": "refund", "content": content}
    return {"messages": [*ASKED["messages"], row]}


def passes(case: Case, shown: Turn | None, *exchanges: Exchange, text: str = "Order 7 is refunded.") -> bool:
    findings = DETECTORS.findings(shown) if shown else ()
    seen = Observation(answer=Answer(status=200, text=text), turn=shown, exchanges=exchanges, findings=findings)
    return trial_passes(case, [mark(point, seen) for point in case.keypoints], findings)


CALLED = exchange(1, ASKED, "refund")
GOOD = (CALLED, exchange(2, results('{"ok": true}'), text="Order 7 is refunded."))
WORKED = turn(tool(), reply="Order 7 is refunded.")


@pytest.mark.parametrize("expect", [(), ("contains:refunded",), ("status:200",)])
class TestACandidateThat:
    def test_does_the_work_passes(self, expect: Sequence[str]) -> None:
        assert passes(case_of(BROKEN, *expect), WORKED, *GOOD)

    def test_drops_the_error_row_is_rejected(self, expect: Sequence[str]) -> None:
        hidden = turn(reply="Order 7 is refunded.")
        failed = exchange(2, results('{"error": "timeout"}'), text="Order 7 is refunded.")
        assert not passes(case_of(BROKEN, *expect), hidden, CALLED, failed)

    def test_clears_the_error_of_the_row_is_rejected(self, expect: Sequence[str]) -> None:
        failed = exchange(2, results('{"error": "timeout"}'), text="Order 7 is refunded.")
        assert not passes(case_of(BROKEN, *expect), WORKED, CALLED, failed)

    def test_skips_the_tool_is_rejected(self, expect: Sequence[str]) -> None:
        assert not passes(case_of(BROKEN, *expect), WORKED, exchange(1, ASKED, text="Order 7 is refunded."))

    def test_never_answers_the_model_that_called_is_rejected(self, expect: Sequence[str]) -> None:
        assert not passes(case_of(BROKEN, *expect), WORKED, CALLED)

    def test_answers_without_doing_is_rejected(self, expect: Sequence[str]) -> None:
        assert not passes(case_of(BROKEN, *expect), WORKED)

    def test_does_nothing_is_rejected(self, expect: Sequence[str]) -> None:
        assert not passes(case_of(BROKEN, *expect), None, text="")

    def test_leaves_no_transcript_is_rejected(self, expect: Sequence[str]) -> None:
        assert not passes(case_of(BROKEN, *expect), None, *GOOD)


@pytest.mark.parametrize("findings", [turn(reply=""), turn(finish="length"), turn(status=502, error="stream was cut")])
def test_a_turn_without_tools_must_ask_the_model_and_say_something(findings: Turn) -> None:
    case = case_of(findings)
    assert points(case)[0] == "asks-the-model"
    assert passes(case, turn(reply="Hello"), exchange(1, ASKED, text="Hello"), text="Hello")
    assert not passes(case, turn(reply="Hello"), text="Hello")
    assert not passes(case, turn(reply="Hello"), exchange(1, {"messages": []}), text="Hello")
    assert not passes(case, turn(reply="Hello"), exchange(1, ASKED), text="")


def test_a_turn_in_which_the_user_said_nothing_asks_the_model_something() -> None:
    case = case_of(turn(user="\n \n", reply=""))
    assert passes(case, turn(reply="Hello"), exchange(1, ASKED, text="Hello"), text="Hello")
    assert not passes(case, turn(reply="Hello"), text="Hello")


SORRY = "Sorry, I can't do that."
ANSWER = "The shop opens at nine on Mondays and at ten on all other days."


def test_a_canned_apology_is_no_answer_to_a_turn_without_tools() -> None:
    case = case_of(turn(reply=""))
    heard = exchange(1, ASKED, text=ANSWER)
    assert points(case)[:2] == ["asks-the-model", "says-what-the-model-says"]
    assert case.words_only
    assert passes(case, turn(reply=ANSWER), heard, text=ANSWER)
    assert passes(case, turn(reply=ANSWER), heard, text=f"**{ANSWER.upper()}** Anything else?")
    assert not passes(case, turn(reply=SORRY), heard, text=SORRY)
    assert not passes(case, turn(reply=SORRY), exchange(1, ASKED), text=SORRY)
    silent = Observation(answer=Answer(error="reset"), exchanges=(heard,))
    assert mark(case.keypoints[1], silent).because == "there is no reply to look at"
    said = next(one for one in marks(case, SORRY, heard) if one.keypoint == "says-what-the-model-says")
    assert said.because == "0 of the 12 words of the model's answer are in the reply"


def marks(case: Case, text: str, *exchanges: Exchange) -> list[Mark]:
    seen = Observation(answer=Answer(status=200, text=text), exchanges=exchanges)
    return [mark(point, seen) for point in case.keypoints]


def test_a_guard_without_tools_is_broken_by_the_same_answer_to_everybody() -> None:
    seen = turn(reply=ANSWER)
    guard = guard_case(Guard(id=seen.id, turn=seen), NAME, [], World())
    heard = exchange(1, ASKED, text=ANSWER)
    assert passes(guard, seen, heard, text=ANSWER)
    assert not passes(guard, turn(reply=SORRY), heard, text=SORRY)


def test_who_says_it_in_own_words_or_expects_something_is_not_held_to_the_models() -> None:
    seen = turn(reply="")
    own = failure_case(failure(seen), NAME, DETECTORS, World(), own_words=True)
    assert "says-what-the-model-says" not in points(own)
    assert own.words_only
    told = case_of(seen, "contains:nine")
    assert "says-what-the-model-says" not in points(told)
    assert not told.words_only
    assert not case_of(BROKEN).words_only


# ------------------------------------------------------------------ which keypoints


def test_the_tools_that_failed_come_first_and_at_most_three() -> None:
    seen = turn(tool("a"), tool("b"), tool("c"), tool("d"), tool("d", error="boom"))
    assert points(case_of(seen))[:3] == ["d-succeeds", "a-succeeds", "b-succeeds"]
    assert "c-succeeds" not in points(case_of(seen))


def test_the_expectations_of_a_person_come_first_and_their_deed_is_enough() -> None:
    case = case_of(BROKEN, "file:/data/report.md", "contains:done")
    assert points(case) == ["expect-1", "expect-2", "silent-tool-error", "status-200", "replies"]
    assert case.keypoints[0].check == FileOnVolume(path="data/report.md")
    assert case.keypoints[0].observed is Observed.VOLUME


def test_expected_words_keep_the_tools_that_failed_and_no_others() -> None:
    seen = turn(tool("look", result="x"), tool(error="boom"))
    assert points(case_of(seen, "contains:refunded"))[:2] == ["expect-1", "refund-succeeds"]
    assert "look-succeeds" not in points(case_of(seen, "contains:refunded"))
    flagged = case_of(turn(tool("look")), "contains:refunded")
    assert points(flagged) == ["expect-1", "asks-the-model", "status-200", "replies"]


def test_a_deed_stays_among_seven_keypoints_however_much_is_expected() -> None:
    case = case_of(BROKEN, *(f"contains:word {number}" for number in range(9)))
    assert len(case.keypoints) == MOST
    assert points(case)[-1] == "refund-succeeds"


def test_a_turn_over_another_way_than_http_has_no_status() -> None:
    assert "status-200" not in points(case_of(turn(tool(error="boom"), status=None)))


def test_a_case_of_redacted_text_says_so() -> None:
    assert not case_of(BROKEN).redacted
    assert case_of(BROKEN.model_copy(update={"redacted": 1})).redacted
    early = failure(BROKEN, earlier=(turn(redacted=2),))
    assert failure_case(early, NAME, DETECTORS, World()).redacted


# ------------------------------------------------------------------ the user's rules


def refunds(**more: object) -> Rule:
    grader = Grader(name="once", argv=("python3", "once.py"), arguments=("--order={1}",))
    point = RuleKeypoint(id="refunded-once", says="refunded once", check=grader)
    return Rule.model_validate(
        {"name": "refund-twice", "pattern": r"order (\S+) refunded \d+ times", "keypoints": (point,), **more}
    )


def twice(order: str) -> Turn:
    return turn(tool(error=f"audit: order {order} refunded 2 times"))


def test_what_a_rule_captured_goes_to_its_grader_as_one_word() -> None:
    detectors = Detectors(BUILTIN, [refunds()])
    case = case_of(twice("7;rm"), detectors=detectors)
    check = case.keypoints[0].check
    assert isinstance(check, Grader)
    assert check.arguments == ("--order=7;rm",)
    assert case.keypoints[0].observed is Observed.GRADER
    assert points(case)[1:3] == ["silent-refund-twice", "silent-tool-error"]


@pytest.mark.parametrize("word", ["-rf", "a\0b"])
def test_a_word_that_a_grader_would_take_for_an_option_is_not_handed_on(word: str) -> None:
    case = case_of(twice(word), detectors=Detectors(BUILTIN, [refunds()]))
    assert "refunded-once" not in points(case)
    assert points(case)[0] == "refund-succeeds"


def test_a_capture_may_come_from_what_the_user_said() -> None:
    asked = r"refund order (\d+)"
    grader = Grader(name="g", argv=("g",), arguments=("{1}",))
    point = RuleKeypoint(id="told", says="x", check=grader, from_user=asked)
    rule = Rule(name="twice", pattern="refunded", keypoints=(point,))
    check = case_of(twice("9"), detectors=Detectors((), [rule])).keypoints[0].check
    assert isinstance(check, Grader)
    assert check.arguments == ("7",)


def test_a_rule_that_counts_calls_has_no_words_to_hand_on() -> None:
    rule = refunds(name="often", pattern=None, tool="refund", more_than=0)
    case = case_of(turn(tool()), detectors=Detectors((), [rule]))
    assert points(case) == ["refund-succeeds", "silent-often", "status-200", "replies"]


def test_a_keypoint_that_holds_when_nothing_happens_is_no_deed() -> None:
    seldom = RuleKeypoint(id="seldom", says="once at most", check=ToolCalled(tool="refund", at_least=0, at_most=1))
    rule = Rule(name="often", tool="refund", more_than=1, keypoints=(seldom,))
    case = case_of(turn(tool(), tool()), detectors=Detectors((), [rule]))
    assert points(case)[:2] == ["seldom", "refund-succeeds"]
    assert not case.keypoints[0].positive


# ------------------------------------------------------------------ guards


def test_a_guard_must_answer_and_do_again_what_it_did_well() -> None:
    seen = turn(tool("find"), tool("mail", error="refused"))
    guard = Guard(id=seen.id, turn=seen)
    case = guard_case(guard, NAME, [Contains(text="sorry", absent=True), Latency(at_most_seconds=5)], World())
    assert points(case) == ["status-200", "replies", "find-succeeds", "guard-check-1", "guard-check-2"]
    assert [point.positive for point in case.keypoints] == [True, True, True, False, False]
    assert case.fingerprint is None


@pytest.mark.parametrize(
    ("check", "positive"),
    [
        (Contains(text="x"), True),
        (Regex(pattern="x", absent=True), False),
        (Silent(detector="x"), False),
        (JsonPath(path="a", exists=False), False),
        (JsonPath(path="a", equals=1), True),
        (ToolCalled(tool="a", at_least=0, at_most=0), False),
        (ToolCalled(tool="a"), True),
    ],
)
def test_what_must_happen_is_told_from_what_must_not(check: Check, positive: bool) -> None:
    case = guard_case(Guard(id=WORKED.id, turn=WORKED), NAME, [check], World())
    assert case.keypoints[-1].positive is positive


# ------------------------------------------------------------------ expectations


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("file:/data/report.md", FileOnVolume(path="data/report.md")),
        ("file:a//b/./c", FileOnVolume(path="a/b/c")),
        ("contains: two words", Contains(text=" two words")),
        ("contains:a:b", Contains(text="a:b")),
        (r"regex:^\d+$", Regex(pattern=r"^\d+$")),
        ("status:201", Status(equals=201)),
        ("tool:write_file", ToolCalled(tool="write_file", succeeds=True)),
        ("json:a.0.b=3", JsonPath(path="a.0.b", equals=3)),
        ("json:a=true", JsonPath(path="a", equals=True)),
        ("json:a=two words", JsonPath(path="a", equals="two words")),
        ("json:a=", JsonPath(path="a", equals="")),
    ],
)
def test_an_expectation_is_a_check(text: str, check: Check) -> None:
    assert parse_expect(text) == check


@pytest.mark.parametrize(
    "text",
    [
        "",
        "report.md",
        "file:",
        "file:../etc/passwd",
        "file:a/../../b",
        "file:/",
        "contains: ",
        "regex:(",
        "regex:" + "a" * 1001,
        "status:20",
        "status:999",
        "tool:\0",
        "json:a",
        "json:=1",
        "json:a=null",
        "json:a=[1]",
        "grader:x=/bin/sh",
        "silent:x",
    ],
)
def test_a_bad_expectation_is_refused_with_place_and_mend(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_expect(text)
    assert "--expect" in str(caught.value)
    assert caught.value.mend is not None
    assert "file:PATH" in caught.value.mend


def test_a_json_value_that_is_nested_to_death_is_a_text() -> None:
    deep = "[" * 200_000
    assert parse_expect(f"json:a={deep}") == JsonPath(path="a", equals=deep)


@given(st.text() | st.builds("{}:{}".format, st.sampled_from(["file", "regex", "json", "tool", "status"]), st.text()))
def test_any_text_is_a_check_or_a_mistake(text: str) -> None:
    with contextlib.suppress(UserError):
        check = parse_expect(text)
        assert not isinstance(check, FileOnVolume) or ".." not in check.path.split("/")
        assert case_of(BROKEN, text).keypoints[0].check == check


@given(
    st.lists(st.builds(tool, name=st.text(min_size=1), result=st.text(), error=st.none() | st.text()), max_size=6),
    st.text(),
    st.none() | st.text(),
)
def test_any_turn_becomes_a_case_that_doing_nothing_does_not_pass(
    tools: list[ToolCall], user: str, reply: str | None
) -> None:
    seen = turn(*tools, user=user, reply=reply)
    for case in (
        case_of(seen),
        case_of(seen, "contains:x"),
        guard_case(Guard(id=seen.id, turn=seen), NAME, [Status()] * 8, World()),
    ):
        assert len(case.keypoints) <= MOST
        assert any(point.positive and point.observed in DEEDS for point in case.keypoints)
        nothing = Observation(answer=Answer(status=200, text="x"), turn=turn(reply="x"))
        assert min(mark(point, nothing).level for point in case.keypoints) is Level.MISSING


def test_each_kind_of_check_is_seen_from_its_own_place() -> None:
    seen = {
        Observed.HTTP: [
            Contains(text="x"),
            Status(),
            ExitCode(),
            JsonSchema(schema_text="{}"),
            Latency(at_most_seconds=1),
        ],
        Observed.GATEWAY: [Regex(pattern="x", where=Where.REQUESTS), ToolCalled(tool="a"), ToolOrder(tools=("a", "b"))],
        Observed.VOLUME: [FileOnVolume(path="a")],
        Observed.GRADER: [Grader(name="g", argv=("g",))],
        Observed.TRANSCRIPT: [Silent(detector="x"), Rubric(sentence="x")],
    }
    assert all(observed_of(check) is place for place, checks in seen.items() for check in checks)  # type: ignore[attr-defined]
