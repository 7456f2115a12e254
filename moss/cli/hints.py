"""Owns how a command that is named in an answer can be typed: as this call was, with the same options.

Never decides what comes next. Invariant: what is no command of MOSS stays as it is, letter for letter.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from moss.cli.table import COMMANDS

NEXT = "next: "
FILE = "moss.toml"


def way(given: Mapping[str, Any]) -> str:
    """`.venv/bin/moss --home shop`: how `moss` was called, with the options that say where things are."""
    told = {name: given[name] for name in ("home", "config", "server") if given.get(name)}
    if told.get("config") == FILE:
        del told["config"]  # what is read from here anyway
    options = [word for name, value in told.items() for word in (f"--{name}", value)]
    return " ".join([_program(), *(shlex.quote(str(word)) for word in options)])


def _program() -> str:
    called = sys.argv[0]
    if os.path.basename(called) != "moss":
        return "moss"
    found = shutil.which("moss")
    if found is not None and os.path.realpath(found) == os.path.realpath(called):
        return "moss"
    return shlex.quote(os.path.relpath(called) if called.startswith(os.getcwd() + os.sep) else called)


def typed(text: str, called: str) -> str:
    """`text` with each `moss COMMAND` in it as it is to be typed."""
    return text if called == "moss" else _commands().sub(lambda _: called, text)


def following(line: str, called: str, name: str) -> str | None:
    """A `next: ...` line without the command that was just called; None when nothing is left of it."""
    before, mark, commands = line.partition(NEXT)
    if not mark:
        return line
    left = [one for one in commands.split(" · ") if one != f"moss {name}" and not one.startswith(f"moss {name} ")]
    return typed(before + mark + " · ".join(left), called) if left else before.rstrip() or None


@cache
def _commands() -> "re.Pattern[str]":
    names = "|".join(sorted({re.escape(name.split(" ")[0]) for name in COMMANDS}))
    return re.compile(rf"(?<![\w./-])moss(?= (?:{names})(?![\w-]))")
