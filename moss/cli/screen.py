"""Owns how results reach a person or a program: plain lines, coloured on a terminal only, or one JSON document.

Never decides what is said (see `api.lines`). Invariant: what is printed as text has passed `plain`, so no text from
outside moves a cursor; rich markup is never parsed.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from pydantic import BaseModel

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {
    "green": r"(?<![\w-])(ok|fixed|strong|CONVERGED|committed|passed|accepted|held)(?![\w-])",
    "yellow": r"(?<![\w-])(warn|weak|adequate|waits|shaky|scripted|consent|undecided|stopping)(?![\w-])",
    "red": r"(?<![\w-])(FAIL|missing|broken|failed|rejected|refused|rolled_back|not fixed|unfit|stale)(?![\w-])",
    "cyan": r"(?<=^next: ).*$",
}


@dataclass
class Screen:
    """Where one call prints. `colour`: stdout is a terminal and nobody objects."""

    json: bool
    quiet: bool
    colour: bool

    @classmethod
    def of(cls, as_json: bool, quiet: bool, env: Mapping[str, str]) -> "Screen":
        wanted = not env.get("NO_COLOR") and env.get("TERM") != "dumb"
        return cls(as_json, quiet, wanted and not as_json and sys.stdout.isatty())

    def give(self, result: BaseModel, lines: Iterable[str]) -> None:
        """The answer of a command: as JSON the whole value, else its lines."""
        if self.json:
            print(result.model_dump_json(), flush=True)
        else:
            self.lines(lines)

    def event(self, result: BaseModel, lines: Iterable[str]) -> None:
        """One of many: a JSON line each."""
        self.give(result, lines)

    def lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._print(line, sys.stdout)

    def note(self, line: str) -> None:
        """Beside the answer: not with `--quiet`, and on stderr with `--json`."""
        if not self.quiet:
            self._print(line, sys.stderr if self.json else sys.stdout)

    def values(self, **fields: object) -> None:
        """A small JSON answer of a command that is no operation."""
        print(json.dumps(fields, default=str), flush=True)

    def _print(self, line: str, to: TextIO) -> None:
        if not self.colour or to is not sys.stdout:
            print(line, file=to, flush=True)
            return
        from rich.text import Text

        text = Text(line)
        for style, pattern in COLOURS.items():
            text.highlight_regex(pattern, style)
        self.console.print(text, soft_wrap=True, highlight=False)

    @property
    def console(self) -> "Console":
        from rich.console import Console

        return Console(markup=False, highlight=False)
