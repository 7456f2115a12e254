"""Owns turns over a plain HTTP route that the user describes: a JSON body with places for message and session.

Never builds JSON from text: the template is read once and its strings are filled as values, so no message can break
out of its string. Never raises for what an agent answers.
"""

import json
from collections.abc import Mapping
from urllib.parse import quote

from moss.adapters.turns.exchange import Got, Request, exchange, plain, tidy
from moss.adapters.turns.health import look
from moss.config import HealthSettings, HttpTurn
from moss.domain.launch import fill
from moss.domain.trial import Answer
from moss.errors import UserError
from moss.ports import Place, Probe


class HttpDriver:
    """A `TurnDriver` for agents with a JSON route of their own. `key` is the resolved secret.

    Raises: UserError when the body of the settings is not JSON.
    """

    def __init__(self, settings: HttpTurn, key: str | None, health: HealthSettings) -> None:
        self._settings, self._key, self._health = settings, key, health
        self._template = _template(settings.body)

    def send(self, place: Place, session: str, message: str, seconds: float) -> Answer:
        """One message in `session`; at most `seconds`, and never longer than the settings say."""
        turn = self._settings
        body = _filled(self._template, {"message": message, "session": session})
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        headers |= {name: fill(value, {"session": session}) for name, value in turn.headers.items()}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        path = fill(turn.path, {"session": quote(session.encode("utf-8", "replace"), safe="")})
        request = Request(turn.method, path, headers, json.dumps(body).encode())
        return self._answer(exchange(place.host, place.port, request, min(seconds, turn.seconds)))

    def health(self, place: Place) -> Probe:
        return look(self._health, place)

    def _answer(self, got: Got) -> Answer:
        whole = not self._settings.reply_path
        if got.error or (not whole and got.status is not None and not 200 <= got.status < 300):
            text, error = "", got.error
        elif whole:
            text, error = plain(got.body), None
        else:
            text, error = _words(got, self._settings.reply_path)
        return Answer(status=got.status, text=text, body=plain(got.body), seconds=got.seconds, error=error)


def _template(body: str) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"the body of a turn must be JSON ({error})",
            where="moss.toml turn.body",
            mend='write it like {"text": "{message}", "conversation": "{session}"}',
        ) from None


def _filled(template: object, values: Mapping[str, str]) -> object:
    match template:
        case str():
            return fill(template, values)
        case list():
            return [_filled(item, values) for item in template]
        case dict():
            return {key: _filled(item, values) for key, item in template.items()}
        case _:
            return template


def _words(got: Got, path: str) -> tuple[str, str | None]:
    """What stands at the dotted `path` of a JSON answer, or what is wrong with it."""
    if got.cut:
        return "", "the answer is longer than 1 MiB"
    try:
        found = json.loads(got.body)
    except (ValueError, RecursionError):
        return "", "the answer is not JSON"
    for step in path.split("."):
        match found:
            case dict() if step in found:
                found = found[step]
            case list() if step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            case _:
                return "", f"the answer has nothing at `{path}`"
    return tidy(found if isinstance(found, str) else json.dumps(found)), None
