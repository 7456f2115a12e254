"""Owns the scripted coding agent as a `CodingAgent`: it ships the program and its script into the box.

Never decides what an edit is (see `moss.testing.scripted_coder`). Invariant: every result it leads to is marked
scripted, since `scripted` is True.
"""

import json
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from moss.errors import UserError
from moss.ports import CoderCommand, CoderEvent, CoderTask, EventKind

PROGRAM = "scripted_coder.py"
SCRIPT_BYTES = 4 << 20


class ScriptedCoder:
    """Does what the script says. `calls`: a file that gets one line for each call that would cost money; `told`: from
    its output, since the box cannot reach that file. `python`: an interpreter as the box knows it."""

    name = "scripted"
    scripted = True

    def __init__(
        self, script: Path, calls: Path | None = None, python: str = sys.executable, told: bool = False
    ) -> None:
        """Raises: UserError for a script that cannot be read or has no steps."""
        self._script = _read(script)
        self._calls, self._python, self._told = calls, python, told

    def command(self, task: CoderTask, gateway_url: str, token: str) -> CoderCommand:
        """The program from the box's `in` place; it needs no gateway, its words are the script's."""
        asked = ("--stage", task.stage, "--iteration", str(task.iteration), "--round", str(task.round))
        return CoderCommand(
            argv=(self._python, f"{{in}}/{PROGRAM}", "--script", "{in}/script.json", *asked, "--key", task.key),
            env={"MOSS_SCRIPTED_CALLS": "-" if self._told else str(self._calls)} if self._calls else {},
            files={PROGRAM: (files("moss.testing") / PROGRAM).read_bytes(), "script.json": self._script},
            stdin=task.prompt.encode(errors="replace"),
        )

    def parse(self, line: bytes) -> Sequence[CoderEvent]:
        """Its own events are the uniform ones; anything else is text."""
        text = line.decode(errors="replace")
        try:
            said = json.loads(text)
            if self._told and self._calls and "paid" in said:
                _count_once(self._calls, said["paid"])
            return (_event(said),)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError):
            return (CoderEvent(EventKind.TEXT, text=text),) if text.strip() else ()


def _count_once(calls: Path, paid: dict[str, object]) -> None:
    """A box's output is read from its start again by the next controller: a call counts by what is its own."""
    before = calls.read_text() if calls.exists() else ""
    if str(paid["once"]) not in before:
        with calls.open("a") as ledger:
            ledger.write(json.dumps(paid) + "\n")


def _event(said: dict[str, object]) -> CoderEvent:
    """Raises: ValueError, TypeError, KeyError where it is no event."""
    result, error = said.get("result"), said.get("error")
    if result is not None and not isinstance(result, dict):
        raise TypeError("a result is an object")
    return CoderEvent(
        kind=EventKind(str(said["kind"])),
        text=str(said.get("text", "")),
        result=result,
        error=str(error) if error is not None else None,
        tokens_in=_count(said.get("tokens_in")),
        tokens_out=_count(said.get("tokens_out")),
        money_usd=_money(said.get("money_usd")),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _money(value: object) -> float:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e9 else 0.0


def _read(script: Path) -> bytes:
    where = str(script)
    try:
        with script.open("rb") as handle:
            text = handle.read(SCRIPT_BYTES + 1)
        steps = json.loads(text)["steps"]
    except OSError as error:
        raise UserError(f"the scripted coder's script cannot be read: {error.strerror}", where=where) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            "the scripted coder's script is no JSON object with `steps`", where=where, mend='write {"steps": []}'
        ) from None
    if len(text) > SCRIPT_BYTES:
        raise UserError(f"the scripted coder's script is larger than {SCRIPT_BYTES} bytes", where=where)
    if not isinstance(steps, list) or not all(isinstance(step, dict) and "stage" in step for step in steps):
        raise UserError("every step of the scripted coder's script is an object with `stage`", where=where)
    return text
