"""Owns how a coding agent's output becomes events and one ending: pure folds over bytes and events.

Never runs anything and never believes an exit code alone (several programs exit 0 after a refusal or a 401).
Invariant: feeding the same bytes in any pieces gives the same lines, so a controller that was killed reads the
output again from the start and comes to the same end.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from moss import errors
from moss.errors import CoderEmpty, CoderError, CoderFailed, CoderHung, CoderInvalid, ModelError, MossError
from moss.ports import BoxExit, CoderEvent, EventKind, ExitReason

CUT = b" ...[moss: %d bytes of this line were cut]"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output without its newline. `cut` counts bytes beyond the bound; such a line is not parsed."""

    text: bytes
    cut: int = 0

    @property
    def shown(self) -> bytes:
        return self.text + CUT % self.cut if self.cut else self.text


@dataclass(slots=True)
class Lines:
    """Splits a stream into lines of at most `bound` bytes; memory stays below twice that."""

    bound: int
    _kept: bytearray = field(default_factory=bytearray)
    _cut: int = 0

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that `data` completes."""
        *complete, rest = data.split(b"\n")
        for piece in complete:
            self._take(piece)
            yield self._flush()
        self._take(rest)

    def end(self) -> Iterator[Line]:
        """The last line, when it had no newline."""
        if self._kept or self._cut:
            yield self._flush()

    def _take(self, piece: bytes) -> None:
        room = self.bound - len(self._kept)
        self._kept += piece[:room]
        self._cut += max(0, len(piece) - room)

    def _flush(self) -> Line:
        line = Line(bytes(self._kept), self._cut)
        self._kept, self._cut = bytearray(), 0
        return line


@dataclass(slots=True)
class Said:
    """What a coding agent has said so far. `end` is its last RESULT or ERROR event: the later one counts, since
    programs report errors that they then recover from."""

    count: int = 0
    end: CoderEvent | None = None
    text: str = ""
    session: str | None = None
    worked: bool = False
    metered: bool = False
    tokens: int = 0
    money_usd: float = 0.0

    def take(self, event: CoderEvent) -> None:
        self.count += 1
        self.session = event.session or self.session
        match event.kind:
            case EventKind.RESULT | EventKind.ERROR:
                self.end = event
            case EventKind.TEXT:
                self.text = event.text or self.text
            case EventKind.TOOL | EventKind.FILE:
                self.worked = True
            case EventKind.USAGE:
                self.metered = True
        self.tokens += event.tokens_in + event.tokens_out
        self.money_usd += event.money_usd

    @property
    def result(self) -> Mapping[str, object] | None:
        """The result as given, not yet checked. A program that has no result event ends with it as its last text."""
        if self.end is not None:
            return self.end.result if self.end.kind is EventKind.RESULT else None
        return object_in(self.text)


FENCED = re.compile(r"^```[a-z]*[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
"""A block between two lines of three backticks; backticks within a line of it are its own."""


def object_in(text: str) -> Mapping[str, object] | None:
    """The one JSON object that `text` is, or that its last fenced block holds; None when there is none."""
    candidates = [text, *FENCED.findall(text)[-1:]]
    for candidate in candidates:
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return None


def named(event: CoderEvent) -> MossError:
    """The error that an ERROR event names: a class of `CoderError` or `ModelError`, else CoderFailed."""
    kind = getattr(errors, event.error or "", None)
    known = isinstance(kind, type) and issubclass(kind, CoderError | ModelError)
    said = shown(event.text, 300)
    return (
        kind(said or "the coding agent reported it") if known and kind else CoderFailed(said or "it reported an error")
    )


def ending(said: Said, exit: BoxExit, tail: str) -> MossError | None:
    """Why a call gave no result; None when there is one to check. `tail` is the end of its stderr."""
    if said.result is not None:
        return None
    if said.end is not None and said.end.kind is EventKind.ERROR:
        return named(said.end)
    match exit.reason:
        case ExitReason.DEADLINE | ExitReason.KILLED:
            return CoderHung(f"the coding agent gave no result and was stopped after {exit.seconds:.0f} s")
        case ExitReason.EXITED if exit.code == 0:
            if not said.text and not said.worked:
                return CoderEmpty("the coding agent ended without a word, a change or a result")
            return CoderInvalid("the coding agent ended without a JSON result")
        case ExitReason.EXITED:
            because = f": {shown(tail, 300)}" if tail.strip() else ""
            return CoderFailed(f"the coding agent exited {exit.code} without a result{because}")
        case _:
            return CoderFailed(f"the coding agent's box ended by its {exit.reason} limit")


def shown(text: str, limit: int) -> str:
    """The end of outside text as one printable line of at most `limit` characters."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(printable.split())
    return line if len(line) <= limit else "..." + line[-limit:]
