"""Owns the OpenAI chat completions API (https://platform.openai.com/docs/api-reference/chat). Pure; never a socket.

Invariant: a request that two readers could read in two ways (a key twice, another encoding) is refused, so what the
gateway allowed is what the upstream does.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from moss.domain.frozen import sha256
from moss.gateway.sse import EventReader
from moss.gateway.wire import Asked, Denied, Frames, Heard, Meter, Said, Tokens, estimate

JSON = "application/json"
STREAM = "text/event-stream"
DONE = b"data: [DONE]\n\n"
BOUNDS = ("max_completion_tokens", "max_tokens")
"""What states the bound of an answer: of today, and of older clients."""
BODY_KEPT = 4 << 20
"""An unstreamed answer is read for its usage up to this size; beyond it the tokens are estimated."""


class Chat:
    """`POST /v1/chat/completions`."""

    name = "openai"
    path = "/v1/chat/completions"

    def read(self, raw: bytes) -> Asked:
        try:
            body = json.loads(raw.decode(), object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise _bad(f"the request body is not JSON that can be read: {_short(error)}") from None
        if not isinstance(body, dict):
            raise _bad("the request body is not a JSON object")
        model, messages = body.get("model"), body.get("messages")
        if not isinstance(model, str) or not 0 < len(model) <= 200 or not model.isprintable():
            raise _bad("`model` is missing or not a name")
        if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
            raise _bad("`messages` is missing, empty or not a list of objects")
        stream = body.get("stream")
        if stream not in (None, True, False) or not isinstance(stream, bool | None):
            raise _bad("`stream` is neither true nor false")
        return Asked(raw, body, model, bool(stream), _most_out(body))

    def bound(self, asked: Asked, said: int) -> bytes:
        if asked.most_out is not None and asked.most_out <= said:
            return asked.raw
        names = [name for name in BOUNDS if _count(asked.body.get(name)) is not None] or [BOUNDS[0]]
        each = max(1, said // (_count(asked.body.get("n")) or 1))
        return _dump({**asked.body, **dict.fromkeys(names, each)})

    def heard(self, asked: Asked) -> Heard:
        last = asked.body["messages"][-1]
        role = last.get("role")
        return Heard(role if role in ("user", "tool") else "other", _text(last.get("content")))

    def say(self, said: Said, asked: Asked) -> Frames:
        answer = _Answer(said, asked)
        if not asked.stream:
            return Frames(JSON, (_dump(answer.whole()),))
        return Frames(STREAM, (*(_event(chunk) for chunk in answer.chunks()), DONE))

    def stop(self, asked: Asked) -> bytes:
        chunk = _chunk(asked, "chatcmpl-moss-stop", {}, "length")
        return b"\n\n" + _event(chunk) + DONE

    def error(self, denied: Denied) -> bytes:
        form = {"message": denied.sentence, "type": denied.kind, "param": None, "code": denied.code}
        return _dump({"error": form})

    def models(self, names: Sequence[str]) -> bytes:
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "moss"} for name in names]
        return _dump({"object": "list", "data": rows})

    def meter(self, asked: Asked, content_type: str) -> Meter:
        sent = estimate(len(asked.raw))
        return _StreamMeter(sent) if content_type.startswith(STREAM) else _BodyMeter(sent)

    def key_headers(self, key: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {key}"}


class _Answer:
    """An answer of MOSS's own. Its ids are made from the request, so a replay gives the same ones."""

    def __init__(self, said: Said, asked: Asked) -> None:
        self.said, self.asked = said, asked
        self.mark = sha256(asked.raw)[7:19]
        self.id = f"chatcmpl-{self.mark}"
        self.finish = "tool_calls" if said.calls else "stop"

    @property
    def usage(self) -> dict[str, int]:
        words = self.said.text + "".join(call.name + call.arguments for call in self.said.calls)
        sent, said = estimate(len(self.asked.raw)), max(1, estimate(len(words.encode(errors="replace"))))
        return {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said}

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [
            {
                "id": f"call_{self.mark}_{index}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for index, call in enumerate(self.said.calls)
        ]

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.said.text or (None if self.said.calls else "")}
        if self.said.calls:
            message["tool_calls"] = self.calls
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        head = {"id": self.id, "object": "chat.completion", "created": 0, "model": self.asked.model}
        return head | {"choices": [choice], "usage": self.usage}

    def chunks(self) -> Iterable[dict[str, Any]]:
        yield _chunk(self.asked, self.id, {"role": "assistant", "content": ""}, None)
        for part in _parts(self.said.text):
            yield _chunk(self.asked, self.id, {"content": part}, None)
        for index, (call, said) in enumerate(zip(self.calls, self.said.calls, strict=True)):
            opening = call | {"index": index, "function": call["function"] | {"arguments": ""}}
            yield _chunk(self.asked, self.id, {"tool_calls": [opening]}, None)
            for part in said.pieces or _parts(said.arguments):
                piece = {"index": index, "function": {"arguments": part}}
                yield _chunk(self.asked, self.id, {"tool_calls": [piece]}, None)
        yield _chunk(self.asked, self.id, {}, self.finish) | {"usage": self.usage}


class _StreamMeter:
    def __init__(self, sent: int) -> None:
        self._sent, self._size, self._usage = sent, 0, None  # type: int, int, Tokens | None
        self._events = EventReader()
        self.complete = False

    @property
    def said(self) -> int:
        return self._usage.said if self._usage else estimate(self._size)

    def feed(self, data: bytes) -> None:
        for event in self._events.feed(data):
            if event == b"[DONE]":
                self.complete = True
            else:
                self._read(event)

    def tokens(self) -> Tokens:
        return self._usage or Tokens(self._sent, self.said, estimated=True)

    def _read(self, event: bytes) -> None:
        try:
            chunk = json.loads(event)
        except (ValueError, RecursionError):
            # not this API's: its bytes are the only measure
            self._size += len(event)
            return
        self._usage = _usage(chunk) or self._usage
        self._size += _said_bytes(chunk)


class _BodyMeter:
    def __init__(self, sent: int) -> None:
        self._sent, self._size, self._body = sent, 0, bytearray()
        self.complete = False

    @property
    def said(self) -> int:
        return estimate(self._size)

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= BODY_KEPT:
            self._body += data

    def tokens(self) -> Tokens:
        try:
            found = _usage(json.loads(self._body)) if self._size <= BODY_KEPT else None
        except (ValueError, RecursionError):
            found = None
        return found or Tokens(self._sent, self.said, estimated=True)


def _usage(answer: object) -> Tokens | None:
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return None
    sent, said = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if sent is None or said is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Tokens(sent, said, min(cached or 0, sent))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else None


def _said_bytes(chunk: object) -> int:
    """Bytes of the words in a chunk's deltas: the strings of the deltas, whatever a vendor calls their keys."""
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    if not isinstance(choices, list):
        return 0
    return sum(_string_bytes(each.get("delta")) for each in choices if isinstance(each, dict))


def _string_bytes(value: object) -> int:
    match value:
        case str():
            return len(value.encode(errors="replace"))
        case dict():
            skip = ("id", "role", "type")
            return sum(_string_bytes(item) for name, item in value.items() if name not in skip)
        case list():
            return sum(_string_bytes(item) for item in value)
        case _:
            return 0


def _most_out(body: Mapping[str, Any]) -> int | None:
    bounds = [_count(body.get(name)) for name in BOUNDS]
    stated = [bound for bound in bounds if bound is not None]
    choices = _count(body.get("n")) or 1
    return min(stated) * choices if stated else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return body


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def _parts(text: str) -> list[str]:
    """A text in about three pieces, so that clients meet a stream as models send it."""
    step = max(1, -(-len(text) // 3))
    return [text[at : at + step] for at in range(0, len(text), step)]


def _chunk(asked: Asked, mark: str, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": mark,
        "object": "chat.completion.chunk",
        "created": 0,
        "model": asked.model,
        "choices": [choice],
    }


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + _dump(chunk) + b"\n\n"


def _dump(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _bad(sentence: str) -> Denied:
    return Denied(400, sentence, code="bad_request")


def _short(error: BaseException) -> str:
    return type(error).__name__ if isinstance(error, RecursionError) else str(error)[:120]
