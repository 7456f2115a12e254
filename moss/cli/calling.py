"""Owns how a command's function is called: its words parsed by typer, its errors turned into sentence and exit code.

Never knows a command. Invariant: `told` gives one line for every error, made plain, with the exit code of `errors`.
"""

import importlib
from typing import Any

import typer

from moss.api.plain import plain
from moss.cli import DONE, FAILED, WRONG_USE
from moss.cli.session import Session
from moss.cli.table import Command

SENTENCE = 600


def call(name: str, command: Command, given: dict[str, Any], words: list[str]) -> int:
    """Runs it; its exit code. Raises: what it raises."""
    module, _, function = command.place.partition(":")
    does = getattr(importlib.import_module(f"moss.cli.{module}"), function)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, help=does.__doc__ or command.help, epilog="Options of every command: moss --help")(does)
    with Session.of({**given, "command": name}) as session:
        code = typer.main.get_command(app)(
            words, prog_name=f"moss {name}", standalone_mode=False, obj=session, auto_envvar_prefix=None
        )
    return code if isinstance(code, int) else DONE


def told(error: Exception) -> tuple[str, str | None, int]:
    """Sentence, mend and exit code of an error."""
    from moss.errors import MossError, UserError

    if isinstance(error, MossError):
        code = WRONG_USE if isinstance(error, UserError) else FAILED
        mend = getattr(error, "mend", None)
        return plain(error, SENTENCE), f"mend: {plain(mend, SENTENCE)}" if _is_deed(mend) else _shown(mend), code
    if hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "moss"
        said = plain(error.format_message(), SENTENCE)
        return (said[:1].lower() + said[1:]).rstrip("."), f"{where} --help", WRONG_USE
    if isinstance(error, typer.Abort):
        return "nothing was done", None, FAILED
    return (
        f"something is wrong in MOSS itself ({type(error).__name__}: {plain(error, 200)})",
        "MOSS_DEBUG=1 shows where; please report it",
        FAILED,
    )


def _is_deed(mend: str | None) -> bool:
    """Whether the mend is one command, and not a choice of several that says itself what each is for."""
    return bool(mend) and "·" not in str(mend)


def _shown(mend: str | None) -> str | None:
    return plain(mend, SENTENCE) if mend else None
