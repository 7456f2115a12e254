"""Owns one turn: ask the model, run the tools it wants, ask again, until it has words for the customer.

Never speaks HTTP. Invariant: every turn ends as exactly one line of its session, whatever the model did.
"""

import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

from clerk.model import Call, Model, ModelError, Said
from clerk.sessions import Sessions, ToolRow, Turn
from clerk.tools import ToolError, Tools, schemas

MAX_STEPS = 6
WINDOW = 12
SYSTEM = (
    "You are the clerk of a small shop. Help the customer with their orders. Use the tools for every fact"
    " about an order; never guess. Say in one or two sentences what you did or found."
)


class Agent:
    """The clerk itself: it knows the sessions, a model and the tools."""

    def __init__(self, sessions: Sessions, model: Model, tools: Tools) -> None:
        self._sessions, self._model, self._tools = sessions, model, tools

    def answer(self, session: str, message: str, user: str | None, on_text: Callable[[str], None]) -> Turn:
        """Answers one message of a customer. The turn is on the disk when this returns.

        Raises: BadSession.
        """
        with self._sessions.lock(session):
            history = self._sessions.history(session)
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            turn = Turn(session, len(history) + 1, at, message, _pseudonym(user))
            began = time.monotonic()
            try:
                self._work(turn, _messages(history, message), on_text)
            except ModelError as error:
                turn.status, turn.finish, turn.error = 502, "error", str(error)
            turn.seconds = round(time.monotonic() - began, 3)
            self._sessions.append(turn)
            return turn

    def _work(self, turn: Turn, messages: list[dict], on_text: Callable[[str], None]) -> None:
        for _ in range(MAX_STEPS):
            said = self._model.ask(messages, schemas(), f"{turn.session}#{turn.ordinal}", on_text)
            if not said.calls:
                turn.status, turn.finish, turn.reply = 200, said.finish, said.text
                return
            messages.append(_wanted(said))
            for call in said.calls:
                row = self._run(call)
                turn.tools.append(row)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": row.result})
        turn.status, turn.finish = 200, "length"
        turn.reply = "I could not finish that. Please ask me again, in smaller steps."
        on_text(turn.reply)

    def _run(self, call: Call) -> ToolRow:
        try:
            result = self._tools.run(call.name, call.arguments)
        except ToolError as error:
            return ToolRow(call.name, call.arguments, json.dumps({"error": str(error)}), str(error))
        return ToolRow(call.name, call.arguments, json.dumps(result), self._tools.audit(result))


def _messages(history: list[dict], message: str) -> list[dict]:
    """What the model sees: who it is, the last turns, and the new message."""
    messages = [{"role": "system", "content": SYSTEM}]
    for turn in history[-WINDOW:]:
        messages.append({"role": "user", "content": turn["user"]})
        if turn.get("reply"):
            messages.append({"role": "assistant", "content": turn["reply"]})
    return [*messages, {"role": "user", "content": message}]


def _wanted(said: Said) -> dict:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in said.calls
    ]
    return {"role": "assistant", "content": said.text or None, "tool_calls": calls}


def _pseudonym(user: str | None) -> str | None:
    """A stable name for a user that says nothing about them."""
    return "u-" + hashlib.sha256(user.encode("utf-8", "replace")).hexdigest()[:10] if user else None
