"""Owns what a model request tells of the conversation that it belongs to. Pure.

For agents that do not name the turn of their requests: a request holds the user's words and all that was said before
them, so it says itself which turn it is of. Invariant: two requests of one turn have the same `said_before`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from moss.domain.frozen import digest, sha256
from moss.domain.ids import Digest


@dataclass(frozen=True, slots=True)
class Heard:
    """Where a user's words stand in a request: as which of the user's messages (1 for the first), after what
    (`said_before`, the words included), and whether another message of the user follows."""

    place: int
    said_before: Digest
    last: bool


def find_words(request: bytes, words: str) -> Heard | None:
    """The last message of the user with these words; None where there is none, or no such request."""
    messages = _messages(request)
    users = [at for at, message in enumerate(messages) if message.get("role") == "user"]
    for place in range(len(users), 0, -1):
        at = users[place - 1]
        if _same(_text(messages[at].get("content")), words):
            return Heard(place, _digest(messages[: at + 1]), place == len(users))
    return None


def _messages(request: bytes) -> Sequence[dict[str, object]]:
    try:
        body = json.loads(request)
    except (ValueError, RecursionError):
        return ()
    messages = body.get("messages") if isinstance(body, dict) else None
    return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else ()


def _same(said: str, words: str) -> bool:
    """Whether a message is these words, alone or as lines of their own: agents add what they remember."""
    said, words = said.strip(), words.strip()
    return bool(words) and (said == words or said.endswith(f"\n{words}") or said.startswith(f"{words}\n"))


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "\n".join(
        str(part["text"]) for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def _digest(messages: Sequence[dict[str, object]]) -> Digest:
    try:
        return Digest(digest(list(messages)))
    except (ValueError, RecursionError):
        return Digest(sha256(repr(messages).encode("utf-8", "replace")))
