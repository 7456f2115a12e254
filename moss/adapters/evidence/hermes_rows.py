"""Owns what rows of Hermes's `messages` table say: which of them begin a turn, and the turn that some of them are.

Never opens a database, never redacts. Invariant: rows that are not as Hermes writes them raise `BadRows`, whose words
quote nothing of them.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from moss.domain.detect import result_error
from moss.domain.evidence import ToolCall, Turn

STRUCTURED = b"\0json:"
"""How a message of several parts begins."""
OWN_WORDS = (
    "[System: ",
    "[CONTEXT COMPACTION",
    "[CONTEXT SUMMARY]",
    "You've reached the maximum number of tool-calling iterations allowed.",
    "You just executed tool calls but returned an empty response.",
    "Continue from the compressed conversation context above.",
)
"""How rows of the role `user` begin that Hermes wrote itself, in the middle of a turn."""
TURN_CHARACTERS = 32 << 20
"""Of all texts of a turn: one endless turn must not end a scan."""
BEYOND = 4096
"""Of a text beyond that."""


_OWN_BYTES = tuple(words.encode() for words in OWN_WORDS)


class BadRows(ValueError):
    """Why rows are no turn: one clause for a person."""


class Row(NamedTuple):
    """One message, in the order of `COLUMNS`. `content` and `tool_calls` as bytes."""

    id: int
    role: str
    content: object
    tool_call_id: object
    tool_calls: object
    tool_name: object
    timestamp: object
    finish_reason: object


COLUMNS = ("id", "role", "content", "tool_call_id", "tool_calls", "tool_name", "timestamp", "finish_reason")


def is_own(head: object) -> bool:
    """Whether a row of the role `user` with this beginning is Hermes's own."""
    return isinstance(head, bytes) and head.startswith(_OWN_BYTES)


def is_over(row: Row) -> bool:
    """Whether a turn that ends with this row can be told to be over: the agent spoke its last word."""
    return row.role == "assistant" and not row.tool_calls and row.finish_reason == "stop"


@dataclass(slots=True)
class _Open:
    """A turn while its rows are read."""

    calls: dict[str, int] = field(default_factory=dict)
    tools: list[ToolCall] = field(default_factory=list)
    reply: str | None = None
    finish: str | None = None
    left: int = TURN_CHARACTERS

    def bound(self, text: str) -> str:
        kept = text[: max(self.left, BEYOND)]
        self.left -= len(kept)
        return kept


def turn_of(session: str, ordinal: int, rows: Sequence[Row], user_id: str | None = None) -> Turn:
    """The turn that these rows are, the user's row first. Raises: BadRows."""
    first, last = rows[0], rows[-1]
    at = _time(first)
    told = _Open()
    user = told.bound(_text(first.content))
    for row in rows[1:]:
        _take(told, row)
    return Turn(
        session=session,
        ordinal=ordinal,
        at=at,
        user=user,
        reply=told.reply,
        tools=tuple(told.tools),
        finish=told.finish,
        seconds=round((_time(last) - at).total_seconds(), 3) if last is not first else None,
        user_id=user_id,
    )


def _take(told: _Open, row: Row) -> None:
    match row.role:
        case "assistant":
            text = told.bound(_text(row.content))
            # words beside a tool call are on the way to the answer
            told.reply = told.reply if row.tool_calls else text
            told.finish = _word(row.finish_reason, "finish_reason")
            for call_id, call in _calls(row.tool_calls):
                told.calls[call_id] = len(told.tools)
                told.tools.append(call.model_copy(update={"arguments": told.bound(call.arguments)}))
        case "tool":
            _answer(told, row)
        case "user" | "system":
            return
        case _:
            raise BadRows(f"row {row.id}: role: none that this MOSS reads")


def _answer(told: _Open, row: Row) -> None:
    """A tool's answer, put with its call; one whose call is not there is a call all the same."""
    text = told.bound(_text(row.content))
    place = told.calls.pop(row.tool_call_id, None) if isinstance(row.tool_call_id, str) else None
    if place is None:
        place = len(told.tools)
        told.tools.append(ToolCall(name=_word(row.tool_name, "tool_name") or "?"))
    error, code = result_error(text), _exit_code(text)
    told.tools[place] = told.tools[place].model_copy(update={"result": text, "error": error, "exit_code": code})


def _calls(raw: object) -> Iterable[tuple[str, ToolCall]]:
    if not raw:
        return
    try:
        listed = json.loads(raw) if isinstance(raw, bytes) else None
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list):
        raise BadRows("tool_calls: not a list in JSON")
    for one in listed:
        function = one.get("function") if isinstance(one, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str):
            raise BadRows("tool_calls: a call without a function's name")
        arguments = function.get("arguments", "")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        yield str(one.get("id") or ""), ToolCall(name=_plain(name), arguments=_plain(text))


def _exit_code(text: str) -> int | None:
    if '"exit_code"' not in text:
        return None
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    code = told.get("exit_code") if isinstance(told, dict) else None
    return code if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 1 << 31 else None


def _text(content: object) -> str:
    """The words of a message; of one in several parts, those of its texts."""
    match content:
        case None:
            return ""
        case bytes() if content.startswith(STRUCTURED):
            return _parts(content.removeprefix(STRUCTURED).decode("utf-8", "replace"))
        case bytes():
            return _plain(content.decode("utf-8", "replace"))
        case _:
            raise BadRows("content: neither text nor null")


def _parts(raw: str) -> str:
    try:
        parts = json.loads(raw)
    except (ValueError, RecursionError):
        return _plain(raw)
    texts = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return _plain("\n".join(text for text in texts if isinstance(text, str))) or _plain(raw)


def _plain(text: str) -> str:
    """Text out of JSON, where escapes may hide what the database's own text cannot hold."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _word(value: object, column: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise BadRows(f"{column}: not a text")


def _time(row: Row) -> datetime:
    try:
        if isinstance(row.timestamp, bool) or not isinstance(row.timestamp, int | float):
            raise TypeError
        return datetime.fromtimestamp(row.timestamp, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise BadRows(f"row {row.id}: timestamp: not a time") from None
