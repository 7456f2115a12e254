"""Owns the commands about tokens of the HTTP API."""

from typing import Annotated

import typer

from moss.api import asks, lines
from moss.api.operations import TOKEN_NEW, TOKEN_REVOKE, TOKENS
from moss.cli.asking import asked
from moss.cli.session import at

Name = Annotated[str, typer.Argument(metavar="NAME", help="lower-case letters, digits, dashes")]


def new(
    context: typer.Context,
    name: Name,
    role: Annotated[str, typer.Option(help="viewer, proposer (the live agent), operator or approver")],
) -> None:
    """Makes a token. It is shown once; what is kept of it opens nothing."""
    session = at(context)
    result = session.door.ask(TOKEN_NEW, asked(asks.NewToken, name=name, role=role))
    session.screen.give(result, [result.token])
    session.screen.note("it is shown only now: MOSS_TOKEN=... moss --server URL status")


def list_(context: typer.Context) -> None:
    """Tokens by name, with their roles."""
    session = at(context)
    result = session.door.ask(TOKENS, asks.Nothing())
    session.screen.give(result, lines.tokens(result))


def revoke(context: typer.Context, name: Name) -> None:
    """A token opens nothing any more."""
    session = at(context)
    result = session.door.ask(TOKEN_REVOKE, asked(asks.Named, name=name))
    session.screen.give(result, lines.done(result))
