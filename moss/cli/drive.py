"""Owns `moss run`: drives one run in the foreground until it waits or ends. What `moss serve` does for all of them.

Ctrl-C leaves everything as it is: the run goes on where it was, here or under serve.
"""

import asyncio

import typer

from moss.api import asks, lines
from moss.api.operations import LOG
from moss.api.reading import found
from moss.cli import WAITING
from moss.cli.asking import Run, asked
from moss.cli.log import ending
from moss.cli.session import Session, at
from moss.domain.ids import RunId
from moss.engine.controller import Idle, Tick
from moss.errors import Refused

BETWEEN = 0.5
"""seconds between two looks at a run that another controller has, or that waits for time"""


def run(context: typer.Context, run: Run) -> int:
    """Drives a run here until it waits for a person or ends."""
    return to_its_end(at(context), asked(asks.OneRun, run=run).run)


def to_its_end(session: Session, name: str) -> int:
    """Drives it; the exit code of how it stands then."""
    wiring = session.wiring
    row = found(wiring.store, name)
    session.log_to_file()
    if row.outcome is not None:
        raise Refused(f"{row.id} has ended already: {row.outcome}", mend=f"moss show {row.id}")
    wiring.keep_alive()
    return asyncio.run(_driven(session, row.id, row.seq))


async def _driven(session: Session, run: RunId, after: int) -> int:
    last: Tick | None = None
    while True:
        before, last = last, await session.wiring.controller.tick(run)
        page = session.door.ask(LOG, asks.Log(run=run, after=after))
        for line in page.lines:
            after = line.seq
            if not line.quiet or session.screen.json:
                session.screen.event(line, [lines.log(line)])
        if page.ended or page.waits:
            return ending(page.waits, page.outcome)
        if last.idle is Idle.PAUSED:
            session.screen.note(f"{run} is paused: moss resume --all")
            return WAITING
        if last.idle is not None or last == before:
            await asyncio.sleep(BETWEEN)
