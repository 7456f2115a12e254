"""Owns how results reach a person or a program: plain lines, coloured on a terminal only, or one JSON document.

Never decides what is said (see `api.lines`). Invariant: what is printed as text has passed `plain`, so no text from
outside moves a cursor; rich markup is never parsed.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from pydantic import BaseModel

from moss.cli import DONE
from moss.cli.hints import following, typed, way

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {
    "green": r"(?<![\w-])(ok|fixed|strong|CONVERGED|committed|passed|accepted|held)(?![\w-])",
    "yellow": r"(?<![\w-])(warn|weak|adequate|waits|shaky|scripted|consent|undecided|stopping)(?![\w-])",
    "red": r"(?<![\w-])(FAIL|missing|broken|failed|rejected|refused|rolled_back|not fixed|unfit|stale)(?![\w-])",
    "cyan": r"(?<=^next: ).*$",
}
LITERAL = ("diff", "log", "watch")
"""commands whose lines are other people's text"""


@dataclass
class Screen:
    """Where one call prints. `colour`: stdout is a terminal and nobody objects. `called`: how `moss` is typed here.

    `name`: the command that was called, which is not told to be next.
    """

    json: bool
    quiet: bool
    colour: bool
    called: str = "moss"
    name: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any], env: Mapping[str, str]) -> "Screen":
        as_json, quiet = bool(given.get("json")), bool(given.get("quiet"))
        wanted = not env.get("NO_COLOR") and env.get("TERM") != "dumb"
        colour = wanted and not as_json and sys.stdout.isatty()
        return cls(as_json, quiet, colour, way(given), given.get("command", ""))

    def give(self, result: BaseModel, lines: Iterable[str]) -> None:
        """The answer of a command: as JSON the whole value, else its lines."""
        if self.json:
            self._out(result.model_dump_json())
        else:
            self.lines(lines)

    def event(self, result: BaseModel, lines: Iterable[str]) -> None:
        """One of many: a JSON line each."""
        self.give(result, lines)

    def lines(self, lines: Iterable[str]) -> None:
        """The answer, line by line. Raises: typer.Exit when whoever read it has seen enough."""
        for line in lines:
            self._line(line)

    def note(self, line: str) -> None:
        """Beside the answer: not with `--quiet`, and on stderr with `--json`."""
        if self.quiet:
            return
        if self.json:
            print(line, file=sys.stderr, flush=True)
            return
        with contextlib.suppress(typer.Exit):  # nobody listens any more; what is being done goes on
            self._line(line)

    def values(self, **fields: object) -> None:
        """A small JSON answer of a command that is no operation."""
        self._out(json.dumps(fields, default=str))

    def _line(self, line: str) -> None:
        told = following(line, self.called, self.name)
        if told is None:
            return
        line = told if self.name in LITERAL else typed(told, self.called)
        if not self.colour:
            self._out(line)
            return
        from rich.text import Text

        text = Text(line)
        for style, pattern in COLOURS.items():
            text.highlight_regex(pattern, style)
        with _pipe():
            self.console.print(text, soft_wrap=True, highlight=False)

    def _out(self, text: str) -> None:
        with _pipe():
            print(text, flush=True)

    @property
    def console(self) -> "Console":
        from rich.console import Console

        return Console(markup=False, highlight=False)


@contextlib.contextmanager
def _pipe() -> Iterator[None]:
    """Whoever read our output and has seen enough (`| head`) ends the command quietly. Raises: typer.Exit."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(DONE) from None
