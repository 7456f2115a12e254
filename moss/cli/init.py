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
from moss.cli.guess_container import Container, containers_of
from moss.cli.session import FILE, at
from moss.cli.template import fill
from moss.errors import UserError
from moss.settings import DEFAULT_HOME


def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="where the agent's source is")] = Path(),
    container: Annotated[
        str | None, typer.Option("--container", metavar="NAME", help="the agent's, if it runs in one")
    ] = (None),
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
    inside, more = _inside(folder.resolve(), found, container)
    draft = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(draft, fill(found, inside).encode(), 0o644)
        load(draft, {})
        draft.replace(file)
        _keep_out_of_git(file.parent / DEFAULT_HOME)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", where=str(file)) from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    notes = (*found.notes, *more)
    if inside is not None:
        notes = tuple(note for note in notes if not note.startswith(("live.argv", "live.port: no")))
    if session.screen.json:
        told = {"name": found.name, "module": found.module, "port": found.port, "notes": notes}
        session.screen.values(wrote=str(file), container=inside.name if inside else None, **told)
        return
    what = _what(found) if inside is None else _what_container(inside, found.port)
    session.screen.lines([f"{what}. Wrote {file}.", *(f"look at: {plain(note)}" for note in notes)])
    session.screen.note("next: moss doctor")


def _keep_out_of_git(home: Path) -> None:
    """MOSS's own folder is no part of the agent's source."""
    home.mkdir(mode=0o700, exist_ok=True)
    (home / ".gitignore").write_text("*\n")


def _what(found: Found) -> str:
    module = f"`python -m {found.module}`" if found.module else "no Python package that can be started"
    return f"Found {module} in {found.source_folder}, port {found.port}"


def _inside(folder: Path, found: Found, wanted: str | None) -> tuple[Container | None, tuple[str, ...]]:
    """The running container that the agent is, if one is clear, and what a person has to look at."""
    known = containers_of(folder, found.name, wanted)
    if len(known) > 1:
        names = ", ".join(f"`{one.name}`" for one in known)
        return None, (f"several containers may be the agent ({names}): moss init --force --container NAME",)
    if not known:
        return None, ()
    one, notes = known[0], []
    if one.port is None:
        notes.append(f"live.port: `{one.name}` publishes not exactly one port, {found.port} is a guess")
    if one.state is None:
        notes.append(f"live.state: `{one.name}` has no volume or bind mount that it may write")
    if not one.dockerfile:
        notes.append("build.dockerfile: there is no Dockerfile in the folder")
    return one, tuple(notes)


def _what_container(one: Container, port: int) -> str:
    kept = f"volume {plain(one.volume, 80)}, " if one.volume else ""
    return f"Found container `{one.name}` ({kept}port {one.port or port}) of image {plain(one.image, 80)}"
