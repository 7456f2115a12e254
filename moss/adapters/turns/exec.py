"""Owns turns that are a command inside the agent's box. Never a shell: message and session are whole words or stdin.

Never raises for what the command does. Invariant: `Answer.text` is what it printed, `exit_code` how it ended.
"""

import time

from moss.adapters.turns.exchange import plain
from moss.adapters.turns.health import look
from moss.config import ExecTurn, HealthSettings
from moss.domain.launch import fill_all
from moss.domain.trial import Answer
from moss.errors import BoxError, BoxLost
from moss.ports import Boxes, Place, Probe, Readiness


class ExecDriver:
    """A `TurnDriver` for agents that are asked by a command."""

    def __init__(self, settings: ExecTurn, key: str | None, health: HealthSettings, boxes: Boxes) -> None:
        del key  # a command has its key from the box's environment
        self._settings, self._health, self._boxes = settings, health, boxes

    def send(self, place: Place, session: str, message: str, seconds: float) -> Answer:
        """One message in `session`; at most `seconds`, and never longer than the settings say. Raises: BoxLost."""
        if place.box is None:
            return Answer(error="this agent is asked by a command in its box, and there is no box here")
        values = {"session": session} if self._settings.stdin else {"session": session, "message": message}
        argv = fill_all(self._settings.argv, values)
        if any("\0" in word for word in argv):
            return Answer(error="a message with a NUL byte cannot be a word of a command; set turn.stdin = true")
        stdin = message.encode("utf-8", "replace") if self._settings.stdin else b""
        bound, began = min(seconds, self._settings.seconds), time.monotonic()
        try:
            code, out, err = self._boxes.exec(place.box, argv, stdin, bound)
        except BoxLost:
            raise
        except BoxError as error:
            return Answer(error=plain(str(error).encode("utf-8", "replace")), seconds=time.monotonic() - began)
        spent = time.monotonic() - began
        late = f"no answer within {bound:g} s" if code != 0 and spent >= bound else None
        return Answer(text=plain(out).strip(), body=plain(out or err), exit_code=code, seconds=spent, error=late)

    def health(self, place: Place) -> Probe:
        """By its health route where it has a port; else a box that runs is ready. Raises: BoxLost."""
        if place.box is None or place.port:
            return look(self._health, place)
        ended = self._boxes.wait(place.box, 0)
        if ended is None:
            return Probe(Readiness.READY, place.box.boot, "its box runs")
        return Probe(Readiness.FAILED, place.box.boot, f"its box ended ({ended.reason})", exit_code=ended.code)
