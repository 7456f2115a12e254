"""Owns the canonical form of a model request: what two requests have in common when they ask the same (design 6).

Pure. Tool-call ids become ordinals in the order in which they are first seen, lines that match a volatile pattern are
dropped, the model's name stays. Invariant: the form of a form is the form; a request that is no JSON is its own bytes.
"""

import json
import re
from collections.abc import Sequence

from moss.domain.frozen import digest, sha256
from moss.domain.ids import Digest

ID_KEYS = frozenset({"id", "tool_call_id", "call_id", "tool_use_id", "item_id"})
"""Keys that hold a tool call's id in one of the wire APIs."""


def canonical_digest(path: str, body: bytes, volatile: Sequence[re.Pattern[str]] = ()) -> Digest:
    """The hash of a request's canonical form, over its path and its body."""
    try:
        form = canonical_form(json.loads(body.decode()), volatile)
        return Digest(digest({"path": path, "body": form}))
    except (ValueError, RecursionError):
        # not UTF-8, not JSON, a lone surrogate, NaN, nested without end: equal only to itself
        return Digest(sha256(path.encode() + b"\n" + body))


def canonical_form(body: object, volatile: Sequence[re.Pattern[str]] = ()) -> object:
    """The canonical form of parsed JSON."""
    seen: dict[str, str] = {}
    return _form(body, None, volatile, seen)


def _form(value: object, key: str | None, volatile: Sequence[re.Pattern[str]], seen: dict[str, str]) -> object:
    match value:
        case dict():
            return {name: _form(item, name, volatile, seen) for name, item in sorted(value.items())}
        case list():
            return [_form(item, None, volatile, seen) for item in value]
        case str() if key in ID_KEYS:
            return seen.setdefault(value, f"id-{len(seen) + 1}")
        case str():
            return _steady(value, volatile)
        case _:
            return value


def _steady(text: str, volatile: Sequence[re.Pattern[str]]) -> str:
    if not volatile:
        return text
    lines = text.split("\n")
    return "\n".join(line for line in lines if not any(pattern.search(line) for pattern in volatile))
