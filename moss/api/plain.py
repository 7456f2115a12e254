"""Owns how text from outside is shown: one line, bounded, without a letter that a terminal or a page would obey.

Never changes what is stored. Invariant: what `plain` gives holds no control, no direction mark and no line break, so
no transcript can move a cursor, hide a line or forge one.
"""

import unicodedata
from datetime import UTC, datetime, timedelta

LONGEST = 200
_OBEYED = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""controls, format and direction marks, lone surrogates, private and unassigned letters, line separators"""


def plain(text: object, longest: int = LONGEST) -> str:
    """`text` as one line of at most `longest` letters; what a terminal would obey is written out (`\\x1b`)."""
    words = " ".join(str(text)[: 4 * longest + 4].split())
    shown = "".join(letter if _is_shown(letter) else _written(letter) for letter in words[: longest + 1])
    return shown if len(shown) <= longest and len(words) <= longest else shown[: max(0, longest - 3)] + "..."


def block(text: str, lines: int = 2000, longest: int = 500) -> tuple[str, ...]:
    """`text` as lines of their own, blanks kept, each made plain; the last line says how many were left out."""
    every = text.split("\n")
    kept = tuple(_line(line, longest) for line in every[:lines])
    return kept if len(every) <= lines else (*kept, f"... {len(every) - lines} more lines")


def _line(line: str, longest: int) -> str:
    cut = line.rstrip("\r").expandtabs(4)[: longest + 1]
    shown = "".join(letter if _is_shown(letter) else _written(letter) for letter in cut)
    return shown if len(cut) <= longest else shown[:longest] + "..."


def _is_shown(letter: str) -> bool:
    return " " <= letter <= "~" or unicodedata.category(letter) not in _OBEYED


def _written(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def ago(then: datetime, now: datetime) -> str:
    """`2 h ago`, in the largest unit that fits."""
    return f"{span(now - then)} ago" if now - then >= timedelta(seconds=1) else "just now"


def span(length: timedelta) -> str:
    """A length of time in the largest unit that fits: `38 min`, `2 h`."""
    seconds = max(0.0, length.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def size(count: int) -> str:
    """Bytes for people: `142 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def count(number: int, noun: str, many: str | None = None) -> str:
    """`1 file`, `2 files`, `9,031 turns`."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def clock(at: datetime) -> str:
    """Local time of day, as the log shows it."""
    return at.astimezone().strftime("%H:%M:%S")


def date(at: datetime) -> str:
    """`2026-11-25 14:00 UTC`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
