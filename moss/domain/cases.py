"""Owns how a failure or a guard becomes a case: what a good answer to that turn does. Never runs a check.

Invariants: at most seven keypoints, fixed when the case is made; at least one of them is positive and seen from
outside the candidate, and "status 200 with some text" alone never is all there is: the tools of the turn must succeed
in the gateway's record, or, without tools, the model must be asked what the user said, and its words be the reply.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import assert_never

from moss.domain.case import (
    Case,
    CaseKind,
    Check,
    Contains,
    ExitCode,
    FileOnVolume,
    FromModel,
    Grader,
    JsonPath,
    JsonSchema,
    Keypoint,
    Latency,
    Regex,
    Rubric,
    Silent,
    Status,
    ToolCalled,
    ToolOrder,
    Where,
    World,
)
from moss.domain.detect import Detectors, UserKeypoint, result_error, slug
from moss.domain.evidence import Failure, Guard, Observed, ToolCall, Turn
from moss.domain.ids import CaseId
from moss.domain.launch import fill_all
from moss.errors import UserError

MOST = 7
MOST_EXPECTED = 5
"""Expectations of one flagged turn, so that there is room for what follows from the turn."""
TOOLS = 3
"""Tools of a turn that become keypoints."""
QUOTED = 200
"""Characters of the user's message that must be found in what the agent asks the model."""
WORD = 200
"""Characters of a captured word that is handed to a grader."""
DEEDS = (Observed.GATEWAY, Observed.VOLUME, Observed.GRADER)
"""Where one sees what was done, not only what was said."""
FORMS = "file:PATH, contains:TEXT, regex:PATTERN, status:200, tool:NAME, json:PATH=VALUE"


def failure_case(
    failure: Failure, case: CaseId, detectors: Detectors, world: World, *, own_words: bool = False
) -> Case:
    """The case of a failure: the user's expectations first, then the rule's, then what follows from the turn.

    `own_words`: the agent puts what the model says into words of its own.

    Raises: UserError for an expectation that is none of the known forms.
    """
    expected = [_expected(text, place) for place, text in enumerate(failure.expect, 1)]
    ruled = [*_ruled(failure, detectors)]
    silent = [_silent(name) for name in dict.fromkeys(finding.detector for finding in failure.findings)]
    told = [point for point in (*expected, *ruled) if point.positive]
    worked: list[Keypoint] = []
    if not any(map(_is_deed, told)):
        # words alone never show that anything was done: what is told of the words only adds to it
        tools = [tool for tool in failure.turn.tools if not told or not _succeeded(tool)]
        worked = [*_worked(failure.turn, tools, own_words=own_words or bool(told))]
    points = _first_seven(expected, ruled, worked, silent[:2], _answered(failure.turn))
    return Case(
        id=case,
        kind=CaseKind.FAILURE,
        source=failure.id,
        fingerprint=failure.fingerprint,
        turn=failure.turn,
        earlier=failure.earlier,
        findings=failure.findings,
        keypoints=points,
        world=world,
        redacted=_redacted(failure.turn, failure.earlier),
        words_only=not told and not any(isinstance(point.check, ToolCalled) for point in points),
    )


def guard_case(guard: Guard, case: CaseId, checks: Sequence[Check], world: World, *, own_words: bool = False) -> Case:
    """The case of a turn that went well: it goes well again, and `checks` of the settings hold."""
    turn = guard.turn
    own = [
        Keypoint(
            id=f"guard-check-{place}",
            says=f"guard check {place} ({check.kind}) holds",
            check=check,
            positive=_is_positive(check),
            observed=observed_of(check),
        )
        for place, check in enumerate(checks, 1)
    ]
    went_well = [tool for tool in turn.tools if _succeeded(tool)]
    return Case(
        id=case,
        kind=CaseKind.GUARD,
        source=guard.id,
        turn=turn,
        earlier=guard.earlier,
        keypoints=_first_seven(_answered(turn), _worked(turn, went_well, own_words=own_words), own),
        world=world,
        redacted=_redacted(turn, guard.earlier),
    )


# ------------------------------------------------------------------ expectations


def parse_expect(text: str) -> Check:
    """The check of one `moss flag --expect`. Raises: UserError naming the forms."""
    kind, colon, rest = text.partition(":")
    if not colon or not rest.strip() or "\0" in rest:
        raise _no_form(text)
    match kind:
        case "file":
            return FileOnVolume(path=_relative(rest, text))
        case "contains":
            return Contains(text=rest)
        case "regex":
            return _pattern(rest, text)
        case "status" if re.fullmatch(r"[1-5][0-9]{2}", rest):
            return Status(equals=int(rest))
        case "tool":
            return ToolCalled(tool=rest, succeeds=True)
        case "json":
            return _json(rest, text)
        case _:
            raise _no_form(text)


def _pattern(pattern: str, text: str) -> Check:
    try:
        return Regex(pattern=pattern)
    except ValueError as error:
        detail = str(error).splitlines()[2].strip() if len(str(error).splitlines()) > 2 else "not a pattern"
        raise _no_form(text, f"the pattern cannot be used: {detail.split(' [')[0][:120]}") from None


def _json(rest: str, text: str) -> Check:
    path, equals, value = rest.partition("=")
    if not path.strip() or not equals:
        raise _no_form(text)
    try:
        told = json.loads(value)
    except (ValueError, RecursionError):
        told = value
    if told is None or isinstance(told, (dict, list)):
        raise _no_form(text, "the value must be a text, a number, true or false")
    return JsonPath(path=path, equals=told)


def _relative(path: str, text: str) -> str:
    """A path below the state folder; a leading slash is the folder itself."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise _no_form(text, "the path must be below the state folder")
    return "/".join(parts)


def _no_form(text: str, because: str = "it is none of the known forms") -> UserError:
    return UserError(because, where=f"--expect {text[:60]!r}", mend=f"write one of: {FORMS}")


def _expected(text: str, place: int) -> Keypoint:
    check = parse_expect(text)
    says = f"expected by hand: {text[:200]}"
    return Keypoint(id=f"expect-{place}", says=says, check=check, positive=True, observed=observed_of(check))


# ------------------------------------------------------------------ the user's rules


def _ruled(failure: Failure, detectors: Detectors) -> Iterator[Keypoint]:
    for name in dict.fromkeys(finding.detector for finding in failure.findings):
        rule = detectors.user(name)
        if rule is None:
            continue
        match = rule.match(failure.turn)
        for point in rule.keypoints:
            if (check := _filled(point, failure.turn, match)) is not None:
                # what holds when nothing happens is not positive, whatever the rule says
                positive = point.positive and _is_positive(check)
                yield Keypoint(
                    id=point.id, says=point.says, check=check, positive=positive, observed=observed_of(check)
                )


def _filled(point: UserKeypoint, turn: Turn, match: re.Match[str] | None) -> Check | None:
    """The keypoint's check with the captured words in a grader's arguments; None when a word is not there."""
    check = point.check
    if not isinstance(check, Grader):
        return check
    if point.from_user is not None:
        match = re.search(point.from_user, turn.user[: 1 << 18]) or match
    words = {str(place): word for place, word in enumerate(match.groups(), 1)} if match else {}
    # a word that looks like an option is not handed on: the grader would read it as one
    safe = {place: word[:WORD] for place, word in words.items() if word and word[0] != "-" and "\0" not in word}
    if any(place not in safe for word in check.arguments for place in re.findall(r"\{(\d+)\}", word)):
        return None
    return check.model_copy(update={"arguments": fill_all(check.arguments, safe)})


def _silent(detector: str) -> Keypoint:
    says = f"{detector} finds nothing"
    check = Silent(detector=detector)
    return Keypoint(id=_id("silent", detector), says=says, check=check, positive=False, observed=Observed.TRANSCRIPT)


# ------------------------------------------------------------------ what follows from a turn


def _answered(turn: Turn) -> Iterator[Keypoint]:
    """The client gets an answer with words in it."""
    if turn.status is not None:
        yield Keypoint(
            id="status-200", says="answers with status 200", check=Status(), positive=True, observed=Observed.HTTP
        )
    words = Regex(where=Where.REPLY, pattern=r"\S")
    yield Keypoint(id="replies", says="says something", check=words, positive=True, observed=Observed.HTTP)


def _worked(turn: Turn, tools: Sequence[ToolCall], *, own_words: bool) -> Iterator[Keypoint]:
    """The work is done: those that failed first, each tool succeeds; without tools, the model is asked and heard."""
    names = sorted(dict.fromkeys(tool.name for tool in tools), key=lambda name: _went_well(name, tools))
    for name in names[:TOOLS]:
        yield Keypoint(
            id=_id(name, "succeeds"),
            says=f"{name[:100]} is called and succeeds",
            check=ToolCalled(tool=name, succeeds=True),
            positive=True,
            observed=Observed.GATEWAY,
        )
    if not names:
        quoted = max((line.strip() for line in turn.user.splitlines()), key=len, default="")[:QUOTED]
        yield Keypoint(
            id="asks-the-model",
            says="asks the model what the user said",
            check=Contains(where=Where.REQUESTS, text=quoted) if quoted else Regex(where=Where.REQUESTS, pattern=r"\S"),
            positive=True,
            observed=Observed.GATEWAY,
        )
    if not names and not own_words:
        yield Keypoint(
            id="says-what-the-model-says",
            says="the reply is what the model says, not the same to everybody",
            check=FromModel(),
            positive=True,
            observed=Observed.GATEWAY,
        )


def _went_well(name: str, tools: Sequence[ToolCall]) -> bool:
    return all(_succeeded(tool) for tool in tools if tool.name == name)


def _succeeded(tool: ToolCall) -> bool:
    return tool.error is None and not tool.exit_code and result_error(tool.result) is None


# ------------------------------------------------------------------ small


def observed_of(check: Check) -> Observed:
    """Where a check is seen from."""
    match check:
        case Contains() | Regex():
            return Observed.HTTP if check.where is Where.REPLY else Observed.GATEWAY
        case JsonPath() | JsonSchema() | Status() | Latency() | ExitCode():
            return Observed.HTTP
        case ToolCalled() | ToolOrder() | FromModel():
            return Observed.GATEWAY
        case FileOnVolume():
            return Observed.VOLUME
        case Grader():
            return Observed.GRADER
        case Silent() | Rubric():
            return Observed.TRANSCRIPT
        case _ as never:
            assert_never(never)


def _is_positive(check: Check) -> bool:
    """Whether something must happen for it to hold."""
    match check:
        case Contains(absent=True) | Regex(absent=True) | Silent() | Latency():
            return False
        case ToolCalled(at_least=0) | JsonPath(exists=False):
            return False
        case _:
            return True


def _first_seven(*groups: Iterable[Keypoint]) -> tuple[Keypoint, ...]:
    """The first of each id, in the order of the groups, at most seven; one that shows a deed stays in."""
    by_id: dict[str, Keypoint] = {}
    for point in (point for group in groups for point in group):
        by_id.setdefault(point.id, point)
    points = tuple(by_id.values())
    first, rest = points[:MOST], points[MOST:]
    deed = next(filter(_is_deed, rest), None)
    return first if deed is None or any(map(_is_deed, first)) else (*first[:-1], deed)


def _is_deed(point: Keypoint) -> bool:
    return point.positive and point.observed in DEEDS


def _redacted(turn: Turn, earlier: Sequence[Turn]) -> bool:
    return any(one.redacted for one in (turn, *earlier))


def _id(*words: str) -> str:
    return "-".join(slug(word, numbers=True) or "x" for word in words)[:64]
