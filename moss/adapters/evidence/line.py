"""Owns one line of the neutral format: bytes in, a turn out. Never opens a file, never redacts.

Invariant: what is not exactly a turn of version 1 is refused with the reason; the reason never quotes the line.
"""

import json
from typing import Any

from pydantic import ValidationError
from stringzilla import Str

from moss.domain.evidence import Turn

_HEADS = (b'{"v":1,', b'{"v": 1, ')


class BadLine(ValueError):
    """Why a line is no turn: one clause for a person."""


def read_line(raw: bytes) -> Turn:
    """The turn of a line. Raises: BadLine."""
    if Str(raw).find(b"\\u0000") >= 0:
        raise BadLine("a text holds a NUL")
    for head in _HEADS:
        if raw.startswith(head):
            return _turn(b"{" + raw[len(head) :])
    return _turn(_without_version(raw))


def write_line(turn: Turn) -> bytes:
    """A turn as a line of the format, newline included: for tests and for agents in Python."""
    plain = turn.model_dump(mode="json", exclude_none=True, exclude={"redacted", "recording"})
    return json.dumps({"v": 1, **plain}, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _turn(raw: bytes) -> Turn:
    try:
        turn = Turn.model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise BadLine(_because(error)) from None
    if turn.at.tzinfo is None:
        raise BadLine("at: has no time zone")
    if turn.recording is not None or turn.redacted:
        raise BadLine("recording, redacted: are MOSS's own")
    return turn


def _without_version(raw: bytes) -> bytes:
    """The same object without `v`, wherever it stood."""
    try:
        plain: Any = json.loads(raw)
    except RecursionError:
        raise BadLine("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise BadLine("it is not UTF-8") from None
    except ValueError as error:
        raise BadLine(
            f"it is not JSON: {error}"[:200] if isinstance(error, json.JSONDecodeError) else "it is not JSON"
        ) from None
    if not isinstance(plain, dict):
        raise BadLine("it is not a JSON object")
    version = plain.pop("v", None)
    if version is not True and version == 1:
        return json.dumps(plain).encode()
    raise BadLine("v: missing" if version is None else "v: not a version that this MOSS reads")


def _because(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part)[:40] for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    said = str(first["msg"])[:160]
    return f"{place}: {said}{more}" if place else f"{said}{more}"
