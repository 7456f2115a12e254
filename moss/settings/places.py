"""Owns where a key stands in the text of a TOML file, for messages. Never decides what the text means.

`tomllib` gives values without lines. This scanner knows tables, arrays of tables, dotted keys, strings and open
brackets, and answers with the nearest line that it is sure of. Invariant: no text makes it raise.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence

_NAME = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = rf"({_NAME}(?:\s*\.\s*{_NAME})*)"
_HEADER = re.compile(rf"^\s*(\[\[?)\s*{_DOTTED}\s*\]\]?\s*(?:\#.*)?$")
_KEY = re.compile(rf"^\s*{_DOTTED}\s*=")
_WORD = re.compile(_NAME)
_STRING = re.compile(r""""(?:[^"\\]|\\.)*"|'[^']*'|\#.*""")
_TRIPLES = ('"""', "'''")

Path = tuple[str | int, ...]


def line_of(text: str, path: Sequence[str | int]) -> int | None:
    """The line (from 1) of the key at `path`, or of the nearest place above it; None where nothing of it is found."""
    found: dict[Path, int] = {}
    for line, place in _places(text):
        for length in range(1, len(place) + 1):
            found.setdefault(place[:length], line)
    for length in range(len(path), 0, -1):
        if (line_ := found.get(tuple(path[:length]))) is not None:
            return line_
    return None


def _places(text: str) -> Iterator[tuple[int, Path]]:
    """(line, path) of every header and key."""
    table: Path = ()
    counts: dict[Path, int] = {}
    inside, depth = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        if not inside and depth <= 0:
            depth = 0
            if header := _HEADER.match(line):
                table = _table(header[2], header[1] == "[[", counts)
                yield number, table
                continue
            if key := _KEY.match(line):
                yield number, (*table, *_words(key[1]))
                line = line[key.end() :]
        inside, rest = _outside(line, inside)
        bare = _STRING.sub("", rest)
        depth += bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}")


def _table(words: str, many: bool, counts: dict[Path, int]) -> Path:
    """The path of a header; arrays of tables stand under the index of their latest element."""
    place: Path = ()
    parts = _words(words)
    for at, word in enumerate(parts):
        place = (*place, word)
        if many and at == len(parts) - 1:
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = (*place, counts[place])
    return place


def _words(dotted: str) -> Path:
    return tuple(_unescaped(word) if "\\" in word else word.strip("\"'") for word in _WORD.findall(dotted))


def _unescaped(word: str) -> str:
    try:
        return next(iter(tomllib.loads(f"{word} = 1")))
    except tomllib.TOMLDecodeError:
        return word


def _outside(line: str, inside: str) -> tuple[str, str]:
    """What of a line is outside of multi-line strings, and the quotes of the one that stays open."""
    rest = ""
    while line:
        if inside:
            _, closed, line = line.partition(inside)
            inside = "" if closed else inside
            continue
        starts = [(line.find(quotes), quotes) for quotes in _TRIPLES if quotes in line]
        if not starts:
            return inside, rest + line
        at, inside = min(starts)
        rest, line = rest + line[:at], line[at + 3 :]
    return inside, rest
