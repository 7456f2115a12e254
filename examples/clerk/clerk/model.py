"""Owns the talk with the language model: OpenAI chat completions, streamed. Never runs a tool, never retries.

Invariant: an answer counts only when the model finished it; a stream that just ends is an error.
"""

import http.client
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LARGEST = 4 << 20


class ModelError(Exception):
    """The model gave no usable answer."""


@dataclass
class Call:
    """One tool that the model wants: `arguments` is JSON text, as the model wrote it."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass
class Said:
    """What the model said in one step."""

    text: str = ""
    calls: list[Call] = field(default_factory=list)
    finish: str | None = None


class Model:
    """A model behind `url` (the part before `/chat/completions`). `seconds` bounds each wait for bytes."""

    def __init__(self, url: str, key: str, name: str, seconds: float = 60.0) -> None:
        parts = urlsplit(url)
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        self._path = parts.path.rstrip("/") + "/chat/completions"
        self._key, self._name, self._seconds = key, name, seconds

    def ask(self, messages: list[dict], tools: list[dict], turn: str, on_text: Callable[[str], None]) -> Said:
        """One step. `turn` (`session#ordinal`) is told to the gateway; text goes to `on_text` as it comes.

        Raises: ModelError.
        """
        body = json.dumps({"model": self._name, "messages": messages, "tools": tools, "stream": True}).encode()
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._seconds)
        try:
            connection.request("POST", self._path, body, self._headers(turn))
            answer = connection.getresponse()
            if answer.status != 200:
                raise ModelError(f"the model answered {answer.status}: {_words(answer.read(2000))}")
            return _read(answer, on_text)
        except (OSError, http.client.HTTPException) as error:
            raise ModelError(f"no answer from the model: {type(error).__name__}") from error
        finally:
            connection.close()

    def _headers(self, turn: str) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "X-Moss-Turn": turn,
        }


def _read(answer: http.client.HTTPResponse, on_text: Callable[[str], None]) -> Said:
    said, size = Said(), 0
    while line := answer.readline(LARGEST + 1):
        size += len(line)
        if size > LARGEST:
            raise ModelError("the model's answer is too long")
        if not line.startswith(b"data:"):
            continue
        event = line[5:].strip()
        if event == b"[DONE]":
            break
        try:
            _take(said, json.loads(event), on_text)
        except (ValueError, TypeError, AttributeError, LookupError):
            raise ModelError("the model's stream cannot be read") from None
    if said.finish is None:
        raise ModelError("the model's stream ended in the middle of its answer")
    return said


def _take(said: Said, event: dict, on_text: Callable[[str], None]) -> None:
    for choice in event.get("choices") or []:
        delta = choice.get("delta") or {}
        if text := delta.get("content"):
            said.text += text
            on_text(text)
        _take_calls(said.calls, delta.get("tool_calls") or [])
        said.finish = choice.get("finish_reason") or said.finish


def _take_calls(calls: list[Call], pieces: Iterable[dict]) -> None:
    for piece in pieces:
        place = piece.get("index", 0)
        while len(calls) <= min(place, 31):
            calls.append(Call(id=f"call_{len(calls) + 1}"))
        call, function = calls[min(place, 31)], piece.get("function") or {}
        call.id = piece.get("id") or call.id
        call.name += function.get("name") or ""
        call.arguments += function.get("arguments") or ""


def _words(body: bytes) -> str:
    return " ".join(body.decode("utf-8", "replace").split())[:300]
