"""Owns the commands that keep things: store backup and restore, what the gateway used."""

from pathlib import Path
from typing import Annotated

import typer

from moss.api import asks, lines
from moss.api.operations import BACKUP, RESTORE, USAGE
from moss.cli.asking import asked
from moss.cli.session import at

Folder = Annotated[Path, typer.Argument(metavar="FOLDER")]


def backup(context: typer.Context, folder: Folder) -> None:
    """Copies the store while it is in use; the copy has proven its chain."""
    session = at(context)
    result = session.door.ask(BACKUP, asked(asks.Folder, folder=str(folder)))
    session.screen.give(result, lines.backed_up(result, "backed up to"))


def restore(context: typer.Context, folder: Folder) -> None:
    """A backup becomes this home's store. A store that is there is never overwritten: move it away first."""
    session = at(context)
    result = session.door.ask(RESTORE, asked(asks.Folder, folder=str(folder)))
    session.screen.give(result, lines.backed_up(result, "restored to"))


def gateway_usage(context: typer.Context) -> None:
    """What models were used, by run, stage and upstream."""
    session = at(context)
    result = session.door.ask(USAGE, asks.Nothing())
    session.screen.give(result, lines.usage(result))
