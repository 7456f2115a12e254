"""Owns `moss start`: a run over a batch, a fingerprint or a session."""

from typing import Annotated

import typer

from moss.api import asks, lines
from moss.api.around import serve_runs
from moss.api.operations import START
from moss.cli.asking import asked, budget
from moss.cli.session import at
from moss.domain.depth import Depth


def start(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="batch, fingerprint or session; without: the oldest sealed")
    ] = None,
    depth: Annotated[Depth | None, typer.Option(help="how hard it tries")] = None,
    coder: Annotated[str | None, typer.Option(help="the coding agent of every role")] = None,
    spend: Annotated[
        list[str] | None, typer.Option("--budget", metavar="AMOUNT", help="4USD, 200000tokens, 30min; may be repeated")
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="go on against the jurors' votes")] = False,
) -> None:
    """Starts a run; moss serve drives it (or moss run RUN, here)."""
    session = at(context)
    ask = asked(asks.Start, name=name, depth=depth, coder=coder, budget=budget(spend), anyway=anyway)
    result = session.door.ask(START, ask)
    session.screen.give(result, lines.started(result))
    if session.server is None and not serve_runs(session.wiring.home):
        session.screen.note(f"moss serve does not run. next: moss serve, or here: moss run {result.run}")
    else:
        session.screen.note(f"next: moss watch {result.run}")
