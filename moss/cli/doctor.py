"""Owns `moss doctor`: every check on one line, as it ends. Exits 1 where one of them is FAIL."""

from typing import Annotated

import typer

from moss.api.checkup import SECONDS, Checkup, Level, lines, looks
from moss.cli import DONE, FAILED
from moss.cli.session import at


def doctor(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="no check takes longer")] = SECONDS,
) -> int:
    """Checks everything: engine, source, adoption, health, turn, evidence, gateway, approvers, space, coder."""
    session = at(context)
    found = []
    for look in looks(session.wiring, seconds):
        found.append(look)
        if not session.screen.json:
            session.screen.lines(lines(look))
    ok = all(one.level is not Level.FAIL for one in found)
    if session.screen.json:
        session.screen.give(Checkup(ok=ok, looks=tuple(found)), [])
    return DONE if ok else FAILED
