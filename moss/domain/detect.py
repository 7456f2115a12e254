"""Owns detectors: what in a turn shows that it went wrong. A detector is a check: it runs again over each trial.

Never reads a file, never decides what is done about a finding (see `cases`).
Invariants: the same turn gives the same findings; a turn without one of `Detectors.signals` in its raw form has none;
fingerprints say nothing of a user: names in quotes, numbers and ids are dropped.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from moss.domain.case import Check, Where
from moss.domain.evidence import Finding, ToolCall, Turn
from moss.domain.ids import Fingerprint

TEXT_LIMIT = 1 << 18
"""Characters of one text that a user's pattern looks at."""
QUOTE = 300
TELLS_ERROR = b'"error'
"""In the line's own keys and, behind a backslash, in JSON inside a tool's result: one search for both."""
TELLING = ('"error"', '"exit_code"', '"status"', "\\u")
"""One of these is in a JSON result that tells of an error: its keys, or the beginning of an escape inside of one."""
EVERY_LINE = b""
"""The signal of a detector that must see every turn."""


class UserKeypoint(Protocol):
    """What a turn recognised by a rule must do when it goes well, as `config.RuleKeypoint` holds it."""

    @property
    def id(self) -> str: ...
    @property
    def says(self) -> str: ...
    @property
    def check(self) -> Check: ...
    @property
    def positive(self) -> bool: ...
    @property
    def from_user(self) -> str | None: ...


class UserRule(Protocol):
    """A detector of the user's own, as `config.Rule` holds it."""

    @property
    def name(self) -> str: ...
    @property
    def where(self) -> Where: ...
    @property
    def pattern(self) -> str | None: ...
    @property
    def tool(self) -> str | None: ...
    @property
    def more_than(self) -> int | None: ...
    @property
    def signal(self) -> str | None: ...
    @property
    def keypoints(self) -> Sequence[UserKeypoint]: ...


class Detector(Protocol):
    """`signals`: byte strings of which a failing turn's raw line holds at least one (keys as compact JSON)."""

    @property
    def name(self) -> str: ...
    @property
    def signals(self) -> tuple[bytes, ...]: ...

    def findings(self, turn: Turn) -> Iterator[Finding]: ...


@dataclass(frozen=True, slots=True)
class Broken:
    """A detector that raised: its turn is kept and looked at again."""

    detector: str
    because: str


# ------------------------------------------------------------------ built in


class ToolError:
    """A tool row with an error, or whose JSON result tells of one."""

    name = "tool-error"
    signals = (TELLS_ERROR, b"exit_code")

    def findings(self, turn: Turn) -> Iterator[Finding]:
        for tool in turn.tools:
            if error := tool.error or result_error(tool.result):
                yield _finding(self.name, tool.name, error)


class ExitCode:
    """A tool that ended with an exit code other than 0."""

    name = "exit-code"
    signals = (b"exit_code",)

    def findings(self, turn: Turn) -> Iterator[Finding]:
        for tool in turn.tools:
            if tool.exit_code:
                words = f"exit code {tool.exit_code}: {(tool.error or tool.result)[-QUOTE:]}"
                yield _finding(self.name, tool.name, words, shape=f"exit {tool.exit_code}", numbers=True)


CUT = re.compile(
    r"(?i)stream\w*[^.\n]{0,60}(?:cut|clos|reset|end|died|drop|interrupt|incomplete|abort)|"
    r"(?:incomplete|premature|unexpected)[^.\n]{0,40}(?:read|end|eof|clos|chunk|body)|"
    r"connection[^.\n]{0,40}(?:reset|clos|abort|lost|broken)"
)


class StreamCut:
    """The model's answer ended before it was complete, as the agent tells it."""

    name = "stream-cut"
    signals = (TELLS_ERROR,)

    def findings(self, turn: Turn) -> Iterator[Finding]:
        if turn.error and CUT.search(turn.error[:TEXT_LIMIT]):
            yield Finding(detector=self.name, fingerprint=Fingerprint(self.name), quote=_quote(turn.error))


class HttpError:
    """The agent answered 400 or above, or says itself that the turn ended in an error."""

    name = "http-error"
    signals = (b'"status":4', b'"status":5', TELLS_ERROR)

    def findings(self, turn: Turn) -> Iterator[Finding]:
        status = turn.status or 0
        if status >= 400 or turn.error or turn.finish == "error":
            words = turn.error or f"status {status}" if status >= 400 else turn.error or "finish reason error"
            shape = f"{status if status >= 400 else ''} {turn.error or ''}"
            yield _finding(self.name, None, words, shape=shape, numbers=not turn.error)


class Length:
    """The answer was cut off by a length limit."""

    name = "length"
    signals = (b'"finish":"length"',)

    def findings(self, turn: Turn) -> Iterator[Finding]:
        if turn.finish == "length":
            tail = (turn.reply or "")[-QUOTE:]
            quote = f"finish reason length after: {tail}"
            yield Finding(detector=self.name, fingerprint=Fingerprint(self.name), quote=_quote(quote))


class EmptyReply:
    """The agent said nothing. Blanks are words here: a rule of the user's own finds them where they matter.
    A line without any reply is a suspect of its own accord (see the evidence format)."""

    name = "empty-reply"
    signals = (b'"reply":""',)

    def findings(self, turn: Turn) -> Iterator[Finding]:
        if not turn.reply:
            yield Finding(detector=self.name, fingerprint=Fingerprint(self.name), quote="the reply is empty")


BUILTIN: dict[str, type[ToolError | ExitCode | StreamCut | HttpError | Length | EmptyReply]] = {
    kind.name: kind for kind in (ToolError, StreamCut, HttpError, Length, EmptyReply, ExitCode)
}


def result_error(result: str) -> str | None:
    """The error that a tool's result tells of: JSON with `error` not null, `exit_code` not 0 or `status` "error"."""
    if not result.lstrip().startswith("{") or not any(key in result for key in TELLING):
        return None
    try:
        told = json.loads(result)
    except (ValueError, RecursionError):
        return None
    error = told.get("error")
    if error is not None and error is not False:
        return _words(error)
    if isinstance(code := told.get("exit_code"), int) and code != 0:
        return f"exit code {code}: {_words(told.get('stderr') or told.get('output') or '')}"
    if told.get("status") == "error":
        return _words(told.get("message") or told.get("detail") or "status error")
    return None


def _words(error: object) -> str:
    """The telling part of an error value."""
    if isinstance(error, dict):
        for key in ("code", "type", "message"):
            if isinstance(error.get(key), str) and error[key]:
                return str(error[key])
    return error if isinstance(error, str) and error else json.dumps(error)[:QUOTE]


# ------------------------------------------------------------------ the user's own


class UserDetector:
    """A rule of `moss.toml`. Its name is the fingerprint."""

    def __init__(self, rule: UserRule) -> None:
        self.name, self._rule, self.keypoints = rule.name, rule, rule.keypoints
        self._pattern = re.compile(rule.pattern) if rule.pattern is not None else None
        self.signals = (_signal(rule),)

    def findings(self, turn: Turn) -> Iterator[Finding]:
        rule = self._rule
        calls = self._calls(turn)
        if rule.more_than is not None:
            if len(calls) > rule.more_than:
                yield self._found(f"{rule.tool or 'tools'} called {len(calls)} times, more than {rule.more_than}")
        elif self._pattern is None:
            if rule.tool is not None and calls:
                yield self._found(f"{rule.tool} was called")
        elif match := self.match(turn):
            yield self._found(_around(match.string, match.start(), match.end()))

    def match(self, turn: Turn) -> re.Match[str] | None:
        """Where the rule's pattern is found: its groups fill keypoints. With `tool`, only in turns that called it."""
        calls = self._calls(turn)
        if self._pattern is None or (self._rule.tool is not None and not calls):
            return None
        found = (self._pattern.search(text[:TEXT_LIMIT]) for text in texts(turn, self._rule.where, calls))
        return next((match for match in found if match), None)

    def _calls(self, turn: Turn) -> list[ToolCall]:
        return [tool for tool in turn.tools if self._rule.tool in (None, tool.name)]

    def _found(self, quote: str) -> Finding:
        return Finding(detector=self.name, fingerprint=Fingerprint(self.name), quote=_quote(quote))


def texts(turn: Turn, where: Where, calls: Sequence[ToolCall]) -> Iterator[str]:
    """The texts of a turn that a check looks at. A transcript has no model requests: what the user said stands in."""
    match where:
        case Where.REPLY:
            yield turn.reply or ""
        case Where.TOOL_ARGUMENTS:
            yield from (tool.arguments for tool in calls)
        case Where.TOOL_RESULTS:
            for tool in calls:
                yield tool.error or ""
                yield tool.result
        case Where.REQUESTS:
            yield turn.user
        case _ as never:
            assert_never(never)


def _signal(rule: UserRule) -> bytes:
    """The bytes that the raw line of each turn holds which the rule can find."""
    if rule.signal:
        return rule.signal.encode()
    if rule.tool is not None:
        plain = rule.tool.isascii() and rule.tool.isprintable() and not set(rule.tool) & {'"', "\\", "/"}
        return b'"' + rule.tool.encode() + b'"' if plain else EVERY_LINE
    return _literal(rule.pattern or "") if rule.more_than is None else EVERY_LINE


def _literal(pattern: str) -> bytes:
    """The longest run of plain characters that each match of a simple pattern holds; else every line is looked at."""
    if set(pattern) & set("|?*{[(\\") or not pattern.isascii():
        return EVERY_LINE
    runs = [run.strip("\x00") for run in re.split(r"[.^$+\"/<>&\x00-\x1f]", pattern)]
    longest = max(runs, key=len)
    return longest.encode() if len(longest) >= 3 else EVERY_LINE


# ------------------------------------------------------------------ all together


class Detectors:
    """The built-in detectors that are on and the user's own rules, the user's first."""

    def __init__(self, builtin: Iterable[str], rules: Iterable[UserRule] = ()) -> None:
        """Raises: KeyError for a name that is not built in."""
        self._user = tuple(UserDetector(rule) for rule in rules)
        self._all: tuple[Detector, ...] = (*self._user, *(BUILTIN[name]() for name in builtin))

    @property
    def signals(self) -> tuple[bytes, ...]:
        """What to look for in raw lines; holds `EVERY_LINE` when one detector must see all."""
        return tuple(dict.fromkeys(signal for one in self._all for signal in one.signals))

    def findings(self, turn: Turn) -> tuple[Finding, ...]:
        """What is wrong with a turn, the user's rules first."""
        return tuple(finding for one in self._all for finding in one.findings(turn))

    def look(self, turn: Turn) -> tuple[tuple[Finding, ...], tuple[Broken, ...]]:
        """Findings, and the detectors that raised instead of looking."""
        found: list[Finding] = []
        broken: list[Broken] = []
        for one in self._all:
            try:
                found += one.findings(turn)
            except Exception as error:  # a detector must never stop the scan: it is reported and the turn retried
                broken.append(Broken(one.name, f"detector {one.name}: {type(error).__name__}: {error}"[:500]))
        return tuple(found), tuple(broken)

    def user(self, name: str) -> UserDetector | None:
        """The user's rule of that name as a detector."""
        return next((one for one in self._user if one.name == name), None)


def fingerprint_of(findings: Sequence[Finding]) -> Fingerprint:
    """What a failure is called: its first finding, so a user's rule wins over what is built in."""
    return findings[0].fingerprint


# ------------------------------------------------------------------ words

_NOISE = re.compile(
    r"\"[^\"]*\"|'[^'\n]*'|`[^`]*`|\S*REDACTED\S*|\S+@\S+|https?://\S+|\S*[/\\]\S*|\b0x[0-9a-fA-F]+\b|\S*\d\S*"
)
_WORD = re.compile(r"[A-Za-z]+")
WORDS = 6
NAME = 60


def slug(text: str, numbers: bool = False) -> str:
    """Up to six words of an error, the same for all users who meet it."""
    head = text[:2000]
    plain = head if numbers else _NOISE.sub(" ", head)
    words = re.findall(r"[A-Za-z0-9]+", plain) if numbers else _WORD.findall(plain)
    return "-".join(word.lower() for word in words[:WORDS])


def _finding(detector: str, tool: str | None, error: str, shape: str | None = None, numbers: bool = False) -> Finding:
    parts = [detector, *([slug(tool, numbers=True)] if tool else []), slug(error if shape is None else shape, numbers)]
    name = "-".join(part for part in parts if part)
    if len(name) > NAME:
        name = f"{name[: NAME - 7].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return Finding(
        detector=detector, fingerprint=Fingerprint(name), quote=_quote(f"{tool}: {error}" if tool else error)
    )


def _quote(text: str) -> str:
    return text[:QUOTE] if len(text) <= QUOTE else text[: QUOTE - 3] + "..."


def _around(text: str, start: int, end: int) -> str:
    """A match with some of what is around it."""
    before = max(0, start - 80)
    return text[before : max(end, before) + 120][:QUOTE]
