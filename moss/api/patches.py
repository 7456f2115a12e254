"""Owns how a candidate's diff is counted for people. Pure; what git means by a diff is `domain.diffs`.

The bytes were written by an agent: nothing in here raises for them, and a line that is cut or forged is counted as
it stands.
"""

from contextlib import suppress

from moss.api.plain import plain
from moss.api.says import FileLine
from moss.domain.diffs import HUNK, BadDiff, path_of, unquote


def files_of(diff: bytes) -> tuple[FileLine, ...]:
    """Files of a unified diff with their counts of added and removed lines."""
    counts: dict[str, list[int]] = {}
    before = path = ""
    minus = plus = 0
    for line in diff.split(b"\n"):
        if minus > 0 or plus > 0:
            sign = line[:1]
            counts[path][0] += sign == b"+"
            counts[path][1] += sign == b"-"
            minus -= sign in (b"-", b" ", b"")
            plus -= sign in (b"+", b" ", b"")
        elif line.startswith(b"--- "):
            before = _path(line[4:])
        elif line.startswith(b"+++ "):
            path = _path(line[4:]) or before
        elif (hunk := HUNK.match(line)) and path:
            minus, plus = int(hunk[1] or 1), int(hunk[3] or 1)
            counts.setdefault(path, [0, 0])
    return tuple(FileLine(path=plain(name), added=one[0], removed=one[1]) for name, one in counts.items())


def _path(word: bytes) -> str:
    """The path of a `---` or `+++` line, empty for none."""
    name = word.removesuffix(b"\t")
    with suppress(BadDiff):
        name = unquote(name)
    return "" if name == b"/dev/null" else path_of(name[2:] if name[:2] in (b"a/", b"b/") else name)
