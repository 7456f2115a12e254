"""Owns path patterns: `*` and `?` within a segment, `**` over segments, `[abc]` sets. Never touches a file.

Invariant: a pattern without wildcards matches exactly that path; case counts.
"""

import re
from collections.abc import Iterable
from functools import lru_cache


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether `path` (relative, `/`-separated) fits one of `patterns`. `x/**` fits what lies below `x`, not `x`."""
    return any(_compiled(pattern).fullmatch(path) for pattern in patterns)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    pattern = pattern.removeprefix("./")
    try:
        return re.compile("".join(_regex(pattern)), re.DOTALL)
    except re.error:  # a set like [z-a]: then the pattern means only itself
        return re.compile(re.escape(pattern))


def _regex(pattern: str) -> Iterable[str]:
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[[!^]?\]?[^\]/]*\]|.", pattern, re.DOTALL):
        match token:
            case "**/":
                yield r"(?:[^/]+/)*"
            case "**":
                yield r".*"
            case "*":
                yield r"[^/]*"
            case "?":
                yield r"[^/]"
            case _ if len(token) > 1:
                yield _set(token)
            case _:
                yield re.escape(token)


def _set(token: str) -> str:
    """A `[...]` set; its letters are literal but for a range's dash."""
    negated = token[1] in "!^"
    letters = re.sub(r"([\\\[\]^&~|])", r"\\\1", token[2 if negated else 1 : -1])
    return f"(?!/)[{'^' if negated else ''}{letters}]"
