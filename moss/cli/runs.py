"""Owns the commands about runs that only look or give a wish: runs, show, matrix, diff, stop, resume, rewind, pause."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from moss.api import asks, lines, screens
from moss.api.operations import DIFF, MATRIX, PAUSE, RESUME, REWIND, RUNS, SHOW, STOP, UNPAUSE
from moss.cli.asking import Limit, Offset, Run, asked, budget
from moss.cli.session import at
from moss.errors import UserError

Everything = Annotated[bool, typer.Option("--all", help="every run: the emergency brake")]


def runs(context: typer.Context, limit: Limit = 100, offset: Offset = 0) -> None:
    """All runs, newest first."""
    session = at(context)
    result = session.door.ask(RUNS, asked(asks.Page, limit=limit, offset=offset))
    session.screen.give(result, lines.runs(result, datetime.now(UTC)))


def show(context: typer.Context, run: Run) -> None:
    """One run on one screen: its stages, the keypoint matrix, verdict, swap and cost."""
    session = at(context)
    result = session.door.ask(SHOW, asked(asks.OneRun, run=run))
    session.screen.give(result, screens.show(result))


def matrix(context: typer.Context, run: Run) -> None:
    """The keypoint matrix: rows of cases and keypoints, a column a version."""
    session = at(context)
    result = session.door.ask(MATRIX, asked(asks.OneRun, run=run))
    said = [lines.scripted(result.scripted)] if result.scripted else []
    session.screen.give(result, [*screens.matrix(result), *said])


def diff(context: typer.Context, run: Run) -> None:
    """The change that a run offers, as a unified diff."""
    session = at(context)
    result = session.door.ask(DIFF, asked(asks.OneRun, run=run))
    session.screen.give(result, screens.diff(result))


def stop(context: typer.Context, run: Run) -> None:
    """Stops a run at its next safe point; moss resume goes on."""
    session = at(context)
    result = session.door.ask(STOP, asked(asks.OneRun, run=run))
    session.screen.give(result, lines.done(result))


def resume(
    context: typer.Context,
    run: Annotated[str | None, typer.Argument(metavar="[RUN]")] = None,
    everything: Everything = False,
    spend: Annotated[list[str] | None, typer.Option("--budget", metavar="AMOUNT", help="a new budget")] = None,
) -> None:
    """Goes on where a run was stopped, failed or ran out of budget; with --all takes off the brake."""
    session = at(context)
    if everything == (run is not None):
        raise UserError("name a run, or --all", mend="moss resume RUN")
    result = (
        session.door.ask(RESUME, asked(asks.Resume, run=run, budget=budget(spend)))
        if run is not None
        else session.door.ask(UNPAUSE, asks.Nothing())
    )
    session.screen.give(result, lines.done(result))


def rewind(
    context: typer.Context,
    run: Run,
    to: Annotated[str, typer.Option("--to", metavar="STAGE", help="baseline, locate, plan, build, trial, ...")],
    iteration: Annotated[int | None, typer.Option(min=1, max=100, help="of this iteration; else the newest")] = None,
) -> None:
    """Starts a run again from an earlier stage."""
    session = at(context)
    result = session.door.ask(REWIND, asked(asks.Rewind, run=run, to=to, iteration=iteration))
    session.screen.give(result, lines.done(result))


def pause(context: typer.Context, everything: Everything = False) -> None:
    """The emergency brake: no run takes a step. An open swap is finished first."""
    session = at(context)
    if not everything:
        raise UserError("the brake is for every run", mend="moss pause --all, or moss stop RUN for one")
    result = session.door.ask(PAUSE, asks.Nothing())
    session.screen.give(result, lines.done(result))
