"""Owns the commands about evidence: scan, failures, batches, flag, dismiss."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from moss.api import asks, lines
from moss.api.operations import BATCHES, DISMISS, FAILURES, FLAG, SCAN
from moss.api.plain import count, plain
from moss.cli.asking import Because, Limit, Offset, asked
from moss.cli.session import at


def scan(context: typer.Context) -> None:
    """Reads new turns from the evidence; moss serve does it on its schedule."""
    session = at(context)
    result = session.door.ask(SCAN, asks.Nothing())
    session.screen.give(result, lines.scanned(result))


def failures(context: typer.Context, limit: Limit = 100, offset: Offset = 0) -> None:
    """Fingerprints of failed turns, most seen first."""
    session = at(context)
    result = session.door.ask(FAILURES, asked(asks.Page, limit=limit, offset=offset))
    session.screen.give(result, lines.failures(result, datetime.now(UTC)))


def batches(context: typer.Context, limit: Limit = 100) -> None:
    """Sealed batches, oldest first."""
    session = at(context)
    result = session.door.ask(BATCHES, asked(asks.Listed, limit=limit))
    session.screen.give(result, lines.batches(result, datetime.now(UTC)))


def flag(
    context: typer.Context,
    conversation: Annotated[str, typer.Argument(metavar="SESSION", help="the conversation, as the evidence names it")],
    turn: Annotated[int, typer.Argument(help="1 for its first turn")],
    because: Because,
    expect: Annotated[
        list[str] | None, typer.Option(help="what a good answer does: file:PATH, contains:TEXT, tool:NAME, ...")
    ] = None,
) -> None:
    """Adds a failure that you saw, with your own expectation."""
    session = at(context)
    ask = asked(asks.Flag, session=conversation, turn=turn, because=because, expect=tuple(expect or ()))
    result = session.door.ask(FLAG, ask)
    session.screen.give(result, [plain(result.says)])
    session.screen.note(f"next: moss start {plain(result.fingerprint, 60)}")


def dismiss(
    context: typer.Context, fingerprint: Annotated[str, typer.Argument(metavar="FINGERPRINT")], because: Because
) -> None:
    """Closes a fingerprint; a later failure with it re-opens it."""
    session = at(context)
    result = session.door.ask(DISMISS, asked(asks.Dismiss, fingerprint=fingerprint, because=because))
    session.screen.give(result, [f"{plain(fingerprint, 60)}: {count(result.closed, 'failure')} closed"])
