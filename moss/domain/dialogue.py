"""Owns what the gateway's record says of a turn: which tools the model asked for and which the agent answered.

Reads OpenAI chat completions, streamed or not. Never trusts a byte: what cannot be read says nothing, no text
raises, sizes are bounded. Invariant: a call counts only when the model asked for it inside this record and a later
request carries its result, so a candidate that skips a tool, or tells of one in its history, has not called it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moss.domain.evidence import Exchange, ToolCall

SPOKEN = ("content", "text")
LARGEST = 32 << 20
"""Bytes of one request or answer that are read; a larger one says nothing."""


def read_json(text: bytes | str) -> Any:
    """The value of a JSON text from outside, None for one that cannot be read."""
    try:
        return json.loads(text) if len(text) <= LARGEST else None
    except (ValueError, RecursionError):
        return None


def answered_calls(exchanges: Iterable[Exchange]) -> tuple[ToolCall, ...]:
    """The tools that were asked for and answered, in the order asked, with arguments as the model gave them."""
    asked: list[_Asked] = []
    for exchange in sorted(exchanges, key=lambda one: one.ordinal):
        results = _results(exchange.request)
        for call in asked:
            call.take(results)
        seen = {name: len(texts) for name, texts in results.items()}
        fresh = [_Asked(*call, after=seen.get(call[0], 0)) for call in _asked(exchange)]
        # The same id asked again without an answer between: the first try was lost, the agent asked once more.
        again = {call.id for call in fresh}
        asked = [call for call in asked if call.result is not None or call.id not in again]
        for place, call in enumerate(fresh):
            call.after += sum(other.id == call.id for other in fresh[:place])
        asked += fresh
    return tuple(
        ToolCall(name=call.name, arguments=call.arguments, result=call.result)
        for call in asked
        if call.result is not None
    )


def request_texts(exchanges: Iterable[Exchange]) -> Iterator[str]:
    """Every text inside what the agent asked the model, unescaped; the raw text of a request that is no JSON."""
    for exchange in exchanges:
        body = read_json(exchange.request)
        if body is None:
            yield exchange.request[:LARGEST].decode("utf-8", "replace")
        yield from _strings(body)


def last_words(exchanges: Iterable[Exchange]) -> str:
    """What the model said last: the text of the last good answer that has one, whatever its wire API."""
    for exchange in sorted(exchanges, key=lambda one: one.ordinal, reverse=True):
        if 200 <= exchange.status < 300 and (said := _said(exchange)).strip():
            return said
    return ""


def _said(exchange: Exchange) -> str:
    data = b"".join(chunk.data for chunk in exchange.chunks)[:LARGEST]
    if "event-stream" not in exchange.content_type:
        return "\n".join(_told(read_json(data), SPOKEN))
    events = (read_json(line[5:]) for line in data.splitlines() if line.startswith(b"data:"))
    # an event of a whole item repeats what its pieces said: the words are the same
    return "".join(part for event in events for part in _told(event, (*SPOKEN, "delta")))


def _told(value: Any, keys: Sequence[str]) -> Iterator[str]:
    """Texts under the keys that wire APIs keep a model's words at, in order."""
    stack: list[tuple[Any, bool]] = [(value, False)]
    while stack:
        one, spoken = stack.pop()
        if isinstance(one, str):
            if spoken:
                yield one
        elif isinstance(one, list):
            stack.extend((item, spoken) for item in reversed(one))
        elif isinstance(one, dict):
            stack.extend((item, key in keys) for key, item in reversed(one.items()))


@dataclass
class _Asked:
    """A call on its way: `after` is how many results with its id were there before its own."""

    id: str
    name: str
    arguments: str
    after: int
    result: str | None = field(default=None)

    def take(self, results: Mapping[str, Sequence[str]]) -> None:
        texts = results.get(self.id, ())
        if self.result is None and len(texts) > self.after:
            self.result = texts[self.after]


def _results(request: bytes) -> dict[str, list[str]]:
    """Call id -> the contents of the tool messages for it, in the order of the history."""
    results: dict[str, list[str]] = {}
    for message in _dicts(_get(read_json(request), "messages")):
        if message.get("role") == "tool":
            content = message.get("content")
            text = _text(content) or "\n".join(_text(part.get("text")) for part in _dicts(content))
            results.setdefault(_text(message.get("tool_call_id")), []).append(text)
    return results


def _asked(exchange: Exchange) -> list[tuple[str, str, str]]:
    """(id, name, arguments) of the calls in a model's answer."""
    if not 200 <= exchange.status < 300:
        return []
    data = b"".join(chunk.data for chunk in exchange.chunks)
    if "event-stream" in exchange.content_type:
        return _streamed(data)
    choice = next(_dicts(_get(read_json(data), "choices")), {})
    return [_call(call) for call in _dicts(_get(choice.get("message"), "tool_calls"))]


def _streamed(data: bytes) -> list[tuple[str, str, str]]:
    """The same from server-sent events, put together by index; what a cut stream held so far counts."""
    calls: dict[int, tuple[str, str, str]] = {}
    for line in data[:LARGEST].splitlines():
        if not line.startswith(b"data:"):
            continue
        choice = next(_dicts(_get(read_json(line[5:]), "choices")), {})
        for part in _dicts(_get(choice.get("delta"), "tool_calls")):
            index = part.get("index")
            place = index if isinstance(index, int) else 0
            before, more = calls.get(place, ("", "", "")), _call(part)
            calls[place] = (more[0] or before[0], more[1] or before[1], before[2] + more[2])
    return [calls[place] for place in sorted(calls)]


def _call(call: dict[str, Any]) -> tuple[str, str, str]:
    function = call.get("function")
    return _text(call.get("id")), _text(_get(function, "name")), _text(_get(function, "arguments"))


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    return (one for one in value if isinstance(one, dict)) if isinstance(value, list) else iter(())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _strings(value: Any) -> Iterator[str]:
    """All strings inside a JSON value, in order; a stack of its own, since the depth comes from outside."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, list):
            stack.extend(reversed(one))
        elif isinstance(one, dict):
            stack.extend(reversed(one.values()))
