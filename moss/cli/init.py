"""Owns `moss init`: looks at the folder and writes a commented moss.toml. Never runs anything of what it finds.

Invariants: a moss.toml that is there is never overwritten without --force; what is written is read back and is good;
no secret is ever written, only where it is found.
"""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from moss.api.plain import plain
from moss.cli.guess import Found, look
from moss.cli.session import FILE, at
from moss.cli.template import fill
from moss.errors import UserError
from moss.settings import DEFAULT_HOME


def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="where the agent's source is")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="overwrite a moss.toml that is there")] = False,
) -> None:
    """Looks at the folder and writes moss.toml with comments."""
    from moss.files import write_durably
    from moss.settings import load

    session = at(context)
    if not folder.is_dir():
        raise UserError("there is no such folder", where=plain(folder, 200))
    file = session.config or (session.home or folder) / FILE
    if file.exists() and not force:
        raise UserError("is there already", where=str(file), mend="moss init --force overwrites it")
    found = look(folder.resolve(), file.absolute().parent.resolve())
    draft = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(draft, fill(found).encode(), 0o644)
        load(draft, {})
        draft.replace(file)
        _keep_out_of_git(file.parent / DEFAULT_HOME)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", where=str(file)) from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    if session.screen.json:
        session.screen.values(wrote=str(file), name=found.name, module=found.module, port=found.port, notes=found.notes)
        return
    session.screen.lines([f"{_what(found)}. Wrote {file}.", *(f"look at: {plain(note)}" for note in found.notes)])
    session.screen.note("next: moss doctor")


def _keep_out_of_git(home: Path) -> None:
    """MOSS's own folder is no part of the agent's source."""
    home.mkdir(mode=0o700, exist_ok=True)
    (home / ".gitignore").write_text("*\n")


def _what(found: Found) -> str:
    module = f"`python -m {found.module}`" if found.module else "no Python package that can be started"
    return f"Found {module} in {found.source_folder}, port {found.port}"
