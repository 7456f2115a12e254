"""Owns how outside text is put in front of a model: made visible, bounded, and fenced as data.

Never interprets it. Invariant: no text can close its own fence, since the fence's id is derived from that very text;
no text moves a terminal or hides letters, since control and format characters are shown as escapes.
"""

import hashlib
import unicodedata

KEPT = "\n\t"
MARKER = 80
"""Room for the line that says what was left out."""
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


class _Escapes(dict[int, str]):
    """Code point -> what is shown for it, filled as characters are met: `str.translate` then runs at C speed."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        shown = char if char in KEPT or unicodedata.category(char) not in HIDDEN else _escape(code)
        return self.setdefault(code, shown)


_ESCAPES = _Escapes()


def visible(text: str) -> str:
    """`text` with every control, format, private and surrogate character written as an escape; newlines and tabs
    stay. Idempotent."""
    return text.translate(_ESCAPES)


def legible(text: str, limit: int) -> str:
    """`text` bounded, made visible, and bounded again where escapes have made it longer."""
    return bounded(visible(bounded(text, limit)), limit + MARKER)


def bounded(text: str, limit: int) -> str:
    """`text`, or its first two thirds and its end with a line between them that says how much was left out."""
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit - limit * 2 // 3
    return f"{text[:head]}\n[moss: {len(text) - limit} characters left out here]\n{text[len(text) - tail :]}"


def fenced(name: str, text: str, limit: int) -> str:
    """`text` as a block of data called `name` (one of our own words), at most `limit` characters of it."""
    body = legible(text, limit)
    mark = fence_id(body)
    return f"<<data {name} {mark}>>\n{body}\n<<end {mark}>>"


def fence_id(body: str) -> str:
    """96 bits that `body` does not hold: derived from it, so whoever wrote it could not know them."""
    mark = hashlib.sha256(body.encode(errors="replace")).hexdigest()[:24]
    while mark in body:
        mark = hashlib.sha256(f"{mark}{body}".encode(errors="replace")).hexdigest()[:24]
    return mark


def _escape(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
