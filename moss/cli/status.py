"""Owns `moss status`: where everything is. The fastest command: it imports little and asks no process."""

from datetime import UTC, datetime

import typer

from moss.api import asks, lines
from moss.api.operations import STATUS
from moss.cli.session import at


def status(context: typer.Context) -> None:
    """Where everything is: the live agent, what runs beside it, evidence, runs."""
    session = at(context)
    result = session.door.ask(STATUS, asks.Nothing())
    session.screen.give(result, lines.status(result, datetime.now(UTC)))
