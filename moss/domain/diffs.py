"""Owns how git's diff output is read: the machine lists of changed paths, and the lines of a patch. Never runs git.

The bytes come from a repository that an agent wrote: every parser here takes any bytes, raises only `BadDiff`, and
never guesses. Sources: gitformat-diff(5) and git-diff(1), `--raw`, `--numstat`, `-z`, `-U0`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from moss.domain.patch import FileChange

GONE = "000000"
HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
ESCAPES = {b"a": 7, b"b": 8, b"t": 9, b"n": 10, b"v": 11, b"f": 12, b"r": 13, b'"': 34, b"\\": 92}


class BadDiff(ValueError):
    """Not what git writes."""


@dataclass(frozen=True, slots=True)
class AddedLine:
    """One line that a patch adds: its path, its number in the new file, its bytes without the line's end."""

    path: str
    number: int
    text: bytes


def path_of(raw: bytes) -> str:
    """A path for people and globs: UTF-8, other bytes as `\\xff`."""
    return raw.decode(errors="backslashreplace")


def parted(text: bytes) -> tuple[bytes, bytes]:
    """What `git diff-tree -z` says with `--raw` and `--numstat` together, as the two texts it says with either."""
    at = 0
    while text.startswith(b":", at):
        # a head and a path, whatever the path begins with
        for _ in range(2):
            at = text.find(b"\0", at) + 1
            if at == 0:
                raise BadDiff(f"not a raw diff line: {text[-80:]!r}")
    return text[:at], text[at:]


def changes(raw: bytes, numstat: bytes) -> tuple[FileChange, ...]:
    """What `git diff-tree -r -z --no-renames` says with `--raw` and with `--numstat`, of the same two trees."""
    counts = dict(_counts(numstat))
    found = []
    for status, mode, path in _raw(raw):
        added, removed, binary = counts.get(path, (0, 0, False))
        found.append(FileChange(path_of(path), status, added, removed, binary, None if mode == GONE else mode))
    return tuple(found)


def _raw(text: bytes) -> Iterator[tuple[Literal["A", "M", "D", "T"], str, bytes]]:
    fields = text.split(b"\0")
    for head, path in zip(fields[0:-1:2], fields[1::2], strict=False):
        words = head.split(b" ")
        if len(words) != 5 or not head.startswith(b":") or words[4] not in (b"A", b"M", b"D", b"T") or not path:
            raise BadDiff(f"not a raw diff line: {head[:80]!r}")
        yield cast(Literal["A", "M", "D", "T"], words[4].decode()), words[1].decode("ascii", "replace"), path


def _counts(text: bytes) -> Iterator[tuple[bytes, tuple[int, int, bool]]]:
    for line in text.split(b"\0")[:-1]:
        words = line.split(b"\t", 2)
        if len(words) != 3:
            raise BadDiff(f"not a numstat line: {line[:80]!r}")
        added, removed, path = words
        if added == removed == b"-":
            yield path, (0, 0, True)
        elif added.isdigit() and removed.isdigit():
            yield path, (int(added), int(removed), False)
        else:
            raise BadDiff(f"not a numstat line: {line[:80]!r}")


def added_lines(text: bytes) -> Iterator[AddedLine]:
    """Every line that a git patch adds, in its order. Binary parts have none."""
    path, number, minus, plus = "", 0, 0, 0
    for line in text.split(b"\n"):
        if minus > 0 or plus > 0:
            sign = line[:1]
            if sign == b"+":
                yield AddedLine(path, number, line[1:])
                number, plus = number + 1, plus - 1
            elif sign == b"-":
                minus -= 1
            elif sign in (b" ", b""):
                number, minus, plus = number + 1, minus - 1, plus - 1
            elif sign != b"\\":
                raise BadDiff(f"not a line of a hunk: {line[:80]!r}")
        elif line.startswith(b"+++ "):
            path = _new_path(line[4:])
        elif hunk := HUNK.match(line):
            minus, plus = int(hunk[1] or 1), int(hunk[3] or 1)
            number = int(hunk[2])


def _new_path(word: bytes) -> str:
    """The path of a `+++` line: git ends a name that has blanks with a tab."""
    name = unquote(word.removesuffix(b"\t"))
    return "" if name == b"/dev/null" else path_of(name.removeprefix(b"b/"))


def unquote(word: bytes) -> bytes:
    """A path as git's `core.quotePath` writes it. Source: quote.c of git, `unquote_c_style`."""
    if not word.startswith(b'"'):
        return word
    if len(word) < 2 or not word.endswith(b'"'):
        raise BadDiff(f"not a quoted path: {word[:80]!r}")

    def plain(escape: re.Match[bytes]) -> bytes:
        sign = escape[1]
        if len(sign) == 3:
            return bytes([int(sign, 8) & 255])
        if sign not in ESCAPES:
            raise BadDiff(f"not a quoted path: {word[:80]!r}")
        return bytes([ESCAPES[sign]])

    return re.sub(rb"\\([0-7]{3}|[\s\S]?)", plain, word[1:-1])
