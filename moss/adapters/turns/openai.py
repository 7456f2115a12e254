"""Owns turns over the OpenAI chat-completions route. The agent keeps the history: only the new message is sent.

Never raises for what an agent answers. Invariant: `Answer.text` is the agent's words and nothing else.
"""

import json

from moss.adapters.turns.exchange import Got, Request, exchange, plain, tidy
from moss.adapters.turns.health import look
from moss.config import HealthSettings, OpenAiTurn
from moss.domain.trial import Answer
from moss.ports import Place, Probe


class OpenAiDriver:
    """A `TurnDriver` for agents that speak the OpenAI API. `key` is the resolved secret."""

    def __init__(self, settings: OpenAiTurn, key: str | None, health: HealthSettings) -> None:
        self._settings, self._key, self._health = settings, key, health

    def send(self, place: Place, session: str, message: str, seconds: float) -> Answer:
        """One message in `session`; at most `seconds`, and never longer than the settings say."""
        turn = self._settings
        body = {"model": turn.model, "messages": [{"role": "user", "content": message}], "stream": False}
        headers = {"Content-Type": "application/json", turn.session_header: session, **turn.headers}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        request = Request("POST", turn.path, headers, json.dumps(body).encode())
        return _answer(exchange(place.host, place.port, request, min(seconds, turn.seconds)))

    def health(self, place: Place) -> Probe:
        return look(self._health, place)


def _answer(got: Got) -> Answer:
    text, error = ("", got.error) if got.error or got.status != 200 else _words(got)
    return Answer(status=got.status, text=text, body=plain(got.body), seconds=got.seconds, error=error)


def _words(got: Got) -> tuple[str, str | None]:
    """The agent's words of a complete answer, or what is wrong with it."""
    if got.cut:
        return "", "the answer is longer than 1 MiB"
    try:
        content = json.loads(got.body)["choices"][0]["message"]["content"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return "", "the answer is not a chat completion"
    match content:
        case str():
            return tidy(content), None
        case None:
            return "", None
        case list():
            return tidy("".join(_part(part) for part in content)), None
        case _:
            return "", "the answer is not a chat completion"


def _part(part: object) -> str:
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""
