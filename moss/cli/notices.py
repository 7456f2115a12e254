"""Owns `moss notices`: what nobody was told, and telling it again."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from moss.api import asks, lines
from moss.api.notices import lines as notice_lines
from moss.api.operations import NOTICES, NOTICES_RETRY
from moss.cli.session import at


def notices(
    context: typer.Context,
    retry: Annotated[bool, typer.Option("--retry", help="send them once more")] = False,
) -> None:
    """Notices that no receiver took, newest first."""
    session = at(context)
    if retry:
        done = session.door.ask(NOTICES_RETRY, asks.Nothing())
        session.screen.give(done, lines.done(done))
        return
    result = session.door.ask(NOTICES, asks.Nothing())
    session.screen.give(result, notice_lines(result, datetime.now(UTC)))
