"""Owns `moss log`: the journal of a run, once or followed, and the proof of its chain."""

from typing import Annotated

import typer

from moss.api import asks, lines
from moss.api.doors import follow as followed
from moss.api.operations import LOG, VERIFY
from moss.cli import DONE, FAILED, WAITING
from moss.cli.asking import asked
from moss.cli.session import Session, at
from moss.errors import UserError


def log(
    context: typer.Context,
    run: Annotated[str | None, typer.Argument(metavar="[RUN]")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until the run ends or waits")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="prove the hash chain (of all runs without RUN)")] = False,
    everything: Annotated[bool, typer.Option("--all", help="single trials and reservations, too")] = False,
) -> int:
    """The journal of a run: what happened, when."""
    session = at(context)
    if verify:
        proven = session.door.ask(VERIFY, asked(asks.Verify, run=run))
        session.screen.give(proven, lines.verified(proven))
        return DONE if proven.ok else FAILED
    if run is None:
        raise UserError("which run?", mend="moss log RUN; moss runs lists them")
    return _followed(session, run, everything) if follow else _once(session, run, everything)


def _once(session: Session, run: str, everything: bool) -> int:
    """With --json it is one document: the whole journal, whatever its pages."""
    page = session.door.ask(LOG, asked(asks.Log, run=run))
    told = [*page.lines]
    while page.more:
        page = session.door.ask(LOG, asks.Log(run=run, after=told[-1].seq))
        told += page.lines
    whole = page.model_copy(update={"lines": tuple(told)})
    session.screen.give(whole, (lines.log(line) for line in told if everything or not line.quiet))
    return DONE


def _followed(session: Session, run: str, everything: bool) -> int:
    for page in followed(session.door, asked(asks.Log, run=run).run):
        for line in page.lines:
            if everything or not line.quiet or session.screen.json:
                session.screen.event(line, [lines.log(line)])
    return ending(page.waits, page.outcome)


def ending(waits: bool, outcome: str | None) -> int:
    """The exit code of a run that was followed to its end."""
    if waits:
        return WAITING
    return DONE if outcome in (None, "committed", "reverted") else FAILED
