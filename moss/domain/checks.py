"""Owns the machine checks: a keypoint and what was seen of a trial -> a level. Never runs a grader or a juror.

Invariants: nothing that a trial shows makes a check raise; what was not seen does not hold, an absence included;
a reason never repeats the text that a check expects, since the coding agent reads it.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, assert_never

from moss.domain.case import (
    Case,
    Contains,
    ExitCode,
    FileOnVolume,
    FromModel,
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
from moss.domain.detect import result_error
from moss.domain.dialogue import answered_calls, last_words, read_json, request_texts
from moss.domain.evidence import Finding, Observed, ToolCall
from moss.domain.trial import Mark, Observation

REGEX_TEXT = 100_000
"""Characters that a regular expression is searched in; an absence in a longer text cannot be told."""

_GRADES = {0: Level.STRONG, 10: Level.ADEQUATE, 11: Level.WEAK, 1: Level.MISSING}


def mark(point: Keypoint, seen: Observation) -> Mark:
    """The level of a keypoint in one trial, with the reason where it is not met.

    A rubric is judged by jurors, not here: it is missing. The exit code of a grader that broke is, too: its trial
    is invalid before it is marked.
    """
    level, because = _level(point, seen)
    return Mark(keypoint=point.id, level=level, because="" if level is Level.STRONG else because)


def trial_passes(case: Case, marks: Iterable[Mark], findings: Iterable[Finding]) -> bool:
    """Every keypoint of the case is adequate or better, and the detectors that recognised its failure are silent."""
    levels = {mark.keypoint: mark.level for mark in marks}
    recognised = {finding.detector for finding in case.findings}
    return all(levels.get(point.id, Level.MISSING) >= Level.ADEQUATE for point in case.keypoints) and not any(
        finding.detector in recognised for finding in findings
    )


def _level(point: Keypoint, seen: Observation) -> tuple[Level, str]:
    check = point.check
    match check:
        case Contains() | Regex():
            return _holds(*_text_holds(check, point.observed, seen))
        case JsonPath():
            return _holds(*_path_holds(check, seen))
        case JsonSchema():
            return _holds(*_schema_holds(check, seen))
        case Status():
            return _holds(seen.answer.status == check.equals, f"status {seen.answer.status or 'none'}")
        case ToolCalled():
            return _holds(*_tool_holds(check, point.observed, seen))
        case ToolOrder():
            names = [call.name for call in _calls(point.observed, seen)]
            return _holds(_in_order(check.tools, names), "the tools were not called in that order")
        case ExitCode():
            code = seen.answer.exit_code
            return _holds(code == check.equals, f"exit code {'none' if code is None else code}")
        case Latency():
            late = f"{seen.answer.error or f'{seen.answer.seconds:.1f} s'}"
            return _holds(seen.answer.error is None and seen.answer.seconds <= check.at_most_seconds, late)
        case FileOnVolume():
            return _holds(*_file_holds(check, seen))
        case Grader():
            code = seen.graded.get(point.id)
            level = Level.MISSING if code is None else _GRADES.get(code, Level.MISSING)
            return level, f"grader {check.name} exited {'never' if code is None else code}"
        case Silent():
            return _holds(*_silent(check, seen))
        case FromModel():
            return _holds(*_from_model(check, seen))
        case Rubric():
            return Level.MISSING, "no juror has looked"
        case _ as never:
            assert_never(never)


def _holds(holds: bool, because: str) -> tuple[Level, str]:
    return (Level.STRONG if holds else Level.MISSING), because


# ------------------------------------------------------------------ texts


def _text_holds(check: Contains | Regex, observed: Observed, seen: Observation) -> tuple[bool, str]:
    place = check.where.value.replace("_", " ")
    text = _text(check.where, observed, seen)
    if text is None:
        return False, f"there is no {place} to look at"
    if isinstance(check, Contains):
        found = check.text in text
    else:
        found = re.search(check.pattern, text[:REGEX_TEXT]) is not None
        if check.absent and not found and len(text) > REGEX_TEXT:
            return False, f"the {place} is longer than {REGEX_TEXT} characters: an absence cannot be told"
    return found is not check.absent, f"it is {'still' if found else 'not'} in the {place}"


def _text(where: Where, observed: Observed, seen: Observation) -> str | None:
    """The text that is looked at; None where nothing was seen there."""
    match where:
        case Where.REPLY if observed is Observed.TRANSCRIPT:
            return seen.turn.reply if seen.turn else None
        case Where.REPLY:
            return seen.answer.text if seen.answer.error is None else None
        case Where.REQUESTS:
            return "\n".join(request_texts(seen.exchanges)) if seen.exchanges else None
        case Where.TOOL_ARGUMENTS | Where.TOOL_RESULTS:
            if _unseen(observed, seen):
                return None
            calls = _calls(observed, seen)
            return "\n".join(call.arguments if where is Where.TOOL_ARGUMENTS else _outcome(call) for call in calls)
        case _ as never:
            assert_never(never)


def _outcome(call: ToolCall) -> str:
    return call.result if call.error is None else f"{call.result}\n{call.error}"


# ------------------------------------------------------------------ tools


def _unseen(observed: Observed, seen: Observation) -> bool:
    return seen.turn is None if observed is Observed.TRANSCRIPT else not seen.exchanges


def _calls(observed: Observed, seen: Observation) -> tuple[ToolCall, ...]:
    """By the transcript only where the keypoint says so, else by the gateway's record."""
    if observed is Observed.TRANSCRIPT:
        return seen.turn.tools if seen.turn else ()
    return answered_calls(seen.exchanges)


def _tool_holds(check: ToolCalled, observed: Observed, seen: Observation) -> tuple[bool, str]:
    if _unseen(observed, seen):
        return False, "nothing was seen in which a tool could show"
    named = [call for call in _calls(observed, seen) if call.name == check.tool]
    if check.matching is not None:
        named = [call for call in named if re.search(check.matching, call.arguments[:REGEX_TEXT])]
    if check.succeeds:
        named = [call for call in named if _succeeded(call)]
    most = float("inf") if check.at_most is None else check.at_most
    how = (" with such arguments" if check.matching is not None else "") + (" successfully" if check.succeeds else "")
    return check.at_least <= len(named) <= most, f"{check.tool} was called {len(named)} times{how}"


def _succeeded(call: ToolCall) -> bool:
    return call.error is None and call.exit_code in (None, 0) and result_error(call.result) is None


def _in_order(wanted: Iterable[str], names: Iterable[str]) -> bool:
    rest = iter(names)
    return all(tool in rest for tool in wanted)


# ------------------------------------------------------------------ JSON


def _path_holds(check: JsonPath, seen: Observation) -> tuple[bool, str]:
    body = read_json(seen.answer.body)
    if body is None:
        return False, "the answer's body is no JSON"
    found, value = _at(body, check.path)
    if check.exists is False:
        return not found, f"{check.path} is there"
    if not found:
        return False, f"{check.path} is not there"
    if check.exists and check.equals is None:
        return True, ""
    # In Python True equals 1; in JSON it does not.
    same = isinstance(value, bool) is isinstance(check.equals, bool) and bool(value == check.equals)
    return same, f"{check.path} has another value"


def _at(value: Any, path: str) -> tuple[bool, Any]:
    for word in path.split("."):
        if isinstance(value, dict) and word in value:
            value = value[word]
        elif (
            isinstance(value, list) and word.isascii() and word.isdigit() and len(word) < 10 and int(word) < len(value)
        ):
            value = value[int(word)]
        else:
            return False, None
    return True, value


def _schema_holds(check: JsonSchema, seen: Observation) -> tuple[bool, str]:
    from jsonschema import Draft202012Validator, SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    body = read_json(seen.answer.body)
    if body is None:
        return False, "the answer's body is no JSON"
    # An empty registry: a reference is never fetched.
    schema: Any = json.loads(check.schema_text)
    try:
        broken = next(Draft202012Validator(schema, registry=Registry()).iter_errors(body), None)
    except (SchemaError, Unresolvable, RecursionError, ArithmeticError, re.error) as error:
        return False, f"the schema cannot be used: {type(error).__name__}"
    if broken is None:
        return True, ""
    return False, f"the body breaks the schema at {broken.json_path[:200]} ({broken.validator})"


# ------------------------------------------------------------------ the rest


def _file_holds(check: FileOnVolume, seen: Observation) -> tuple[bool, str]:
    text = seen.files.get(check.path)
    if text is None:
        return False, f"{check.path} is not there"
    return check.contains is None or check.contains in text, f"{check.path} does not hold what it should"


def _from_model(check: FromModel, seen: Observation) -> tuple[bool, str]:
    said = _words(last_words(seen.exchanges))
    if not said:
        return False, "the model said nothing in the turn"
    if seen.answer.error is not None:
        return False, "there is no reply to look at"
    there = len(said & _words(seen.answer.text))
    return there >= check.share * len(said), f"{there} of the {len(said)} words of the model's answer are in the reply"


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text[:REGEX_TEXT].casefold()))


def _silent(check: Silent, seen: Observation) -> tuple[bool, str]:
    if seen.turn is None:
        return False, "the agent left no transcript of the turn"
    quotes = [finding.quote for finding in seen.findings if finding.detector == check.detector]
    return not quotes, f"{check.detector}: {quotes[0][:300]}" if quotes else ""
