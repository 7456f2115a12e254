"""Owns `moss watch`: a run, live. Leaving it changes nothing; coming back shows it from where it is."""

import typer

from moss.api import asks, lines, says, screens
from moss.api.doors import follow
from moss.api.operations import SHOW
from moss.cli import DONE
from moss.cli.asking import Run, asked
from moss.cli.log import ending
from moss.cli.session import Session, at

BAR = 38
HEAD = 4


def watch(context: typer.Context, run: Run) -> int:
    """A run, live: its stages and trials as they come. Ctrl-C leaves it; it goes on."""
    session = at(context)
    name = asked(asks.OneRun, run=run).run
    if session.screen.colour:
        return _live(session, name)
    for page in follow(session.door, name):
        for line in page.lines:
            if not line.quiet or session.screen.json:
                session.screen.event(line, [lines.log(line)])
    shown = session.door.ask(SHOW, asks.OneRun(run=name))
    if shown.next:
        session.screen.note("next: " + " · ".join(shown.next))
    return ending(page.waits, page.outcome)


def _live(session: Session, run: str) -> int:
    """The screen of `moss show`, drawn again with each page of the journal."""
    from rich.live import Live
    from rich.text import Text

    last: says.LogLines | None = None
    with Live(console=session.screen.console, auto_refresh=False, transient=True) as screen:
        for page in follow(session.door, run):
            last = page
            shown = session.door.ask(SHOW, asks.OneRun(run=run))
            told = fitted([*screens.show(shown), *trial_bar(shown)], session.screen.console.size.height - 1)
            screen.update(Text("\n".join(told)), refresh=True)
    session.screen.lines(screens.show(session.door.ask(SHOW, asks.OneRun(run=run))))
    return ending(last.waits, last.outcome) if last is not None else DONE


def fitted(told: list[str], height: int) -> list[str]:
    """The head and the newest lines, where a screen is too low for all of them."""
    if len(told) <= height or height < HEAD + 2:
        return told[: max(height, 1)]
    return [*told[:HEAD], "  ...", *told[-(height - HEAD - 1) :]]


def trial_bar(shown: says.Show) -> list[str]:
    """A mark a trial while they run; their number is not known before the verdict asks for no more."""
    if shown.stage not in ("baseline", "trial") or not shown.trials:
        return []
    return [f"  trials     {shown.trials} so far  {'#' * min(BAR, shown.trials)}"]
