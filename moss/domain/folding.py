"""Owns the plain form of a text in which letters are hidden or dressed up: where a secret looks like none. Pure.

Characters that show as nothing are dropped, full-width and other forms of a letter become that letter (NFKC).
Invariants: a text without such characters is its own plain form; every place of the plain form is known in the text.
"""

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass

import stringzilla

_DROPPED = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_DRESSED = "\u2070-\u209c\u2460-\u24ff\ufe50-\ufe6f\uff01-\uff5e\U0001d400-\U0001d7ff\U0001f100-\U0001f189"
_ODD = re.compile(f"[{_DROPPED}]|[{_DRESSED}]")
_GONE = re.compile(f"[{_DROPPED}]")
_LEADS = tuple(
    bytes.fromhex(lead)
    for lead in (
        *("c2ad", "cd8f", "d89c", "e1859f", "e185a0", "e19eb4", "e19eb5", "e1a08b", "e1a08c", "e1a08d", "e1a08e"),
        *("e1a08f", "e2808b", "e2808c", "e2808d", "e2808e", "e2808f", "e280aa", "e280ab", "e280ac", "e280ad", "e280ae"),
        *("e281", "e282", "e291", "e292", "e293", "e385a4", "efb8", "efb9", "efbbbf", "efbc", "efbd", "efbea0"),
        *("efbfb9", "efbfba", "efbfbb", "f09bb2", "f09d", "f09f84", "f09f85", "f09f86", "f3a0"),
    )
)
"""How such characters begin in UTF-8; some others begin so too."""


@dataclass(frozen=True, slots=True)
class Plain:
    """The plain form of a text, and where each run of it begins in both."""

    text: str
    _here: tuple[int, ...]
    _there: tuple[int, ...]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where characters `start` to `end` of the plain form stand in the text, hidden ones between them included."""
        return self._at(start), self._at(end - 1) + 1

    def _at(self, place: int) -> int:
        run = bisect_right(self._here, place) - 1
        return self._there[run] + place - self._here[run]


def plain(text: str) -> Plain | None:
    """The plain form; None where the text is that already."""
    if text.isascii() or _ODD.search(text) is None:
        return None
    parts: list[str] = []
    here, there, size, at = [0], [0], 0, 0
    for match in _ODD.finditer(text):
        form = "" if _GONE.match(match[0]) else unicodedata.normalize("NFKC", match[0])
        parts += (text[at : match.start()], form)
        size += match.start() - at
        at = match.end()
        for letter in range(len(form)):
            here.append(size + letter)
            there.append(match.start())
        size += len(form)
        here.append(size)
        there.append(at)
    parts.append(text[at:])
    return Plain("".join(parts), tuple(here), tuple(there))


def maybe_odd(data: bytes) -> bool:
    """Whether the UTF-8 bytes may hold such a character: as fast as they can be read, and never a wrong no."""
    if data.isascii():
        return False
    text = stringzilla.Str(data)
    return any(text.find(lead) >= 0 for lead in _LEADS)
