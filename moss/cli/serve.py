"""Owns `moss serve` and `moss down`: the processes of one home, begun and ended by a person.

`serve` is controller, API and page in one process; gateway, hold proxy and the live agent's supervisor are processes
of their own that outlive it. Invariant: ending a serve, however, changes nothing for users of the live agent.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from moss.api.around import gateway_runs, live_line, proxy_runs, serve_lock, serve_runs, supervisor_runs
from moss.api.plain import clock, plain
from moss.cli import DONE, INTERRUPTED
from moss.cli.session import Session, at
from moss.daemon import lock
from moss.errors import Refused, UserError

if TYPE_CHECKING:
    from structlog.typing import EventDict

    from moss.cli.shift import Shift
    from moss.logs import Told

LOOPS = {
    "_ticks": "runs",
    "_scan": "evidence",
    "_deliver": "notices",
    "_sweep": "what ended runs left",
    "_retain": "retention",
    "_keep_alive": "gateway and live agent",
}
"""the loops of a serve, for a person who reads that one of them had trouble"""


def serve(context: typer.Context) -> int:
    """Runs the controller, the API and the page until Ctrl-C; keeps gateway and hold proxy running."""
    from moss.cli.shift import Shift
    from moss.logs import to_file

    session = at(context)
    home = session.wiring.home
    session.wiring.store  # noqa: B018  a store that cannot be opened is told before anything is started
    to_file(home / "log" / "moss.log", _printed(session))
    with _front(session) as (listening, says):
        session.screen.note(says)
        if not live_line(session.wiring).known:
            session.screen.note("the live agent does not run under MOSS yet. next: moss doctor · moss adopt")
        shift = Shift(session, listening)
        got = asyncio.run(_until_signal(shift))
    session.screen.note("ended; what was being done is done again at the next moss serve")
    return INTERRUPTED if got == signal.SIGINT else DONE


async def _until_signal(shift: "Shift") -> int:
    """Runs the shift; the signal that ended it. A second one ends the process at once."""
    got: list[int] = []

    def on_signal(number: int) -> None:
        got.append(number)
        if len(got) > 1:
            os._exit(INTERRUPTED)
        shift.stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    await shift.run()
    return got[0] if got else signal.SIGTERM


@contextlib.contextmanager
def _front(session: Session) -> Iterator[tuple[socket.socket | None, str]]:
    """The listening socket, None where another serve of this home has the port; and the sentence about it."""
    api, place = session.settings.api, serve_lock(session.settings.home)
    held = lock.take(place)
    if held is None:
        yield None, "another moss serve of this home has the port; this one drives runs beside it"
        return
    try:
        with _listening(api.host, api.port) as listening:
            yield listening, f"moss serve on http://{api.host}:{api.port}"
    finally:
        os.close(held)


def _listening(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"{host}:{port} cannot be listened on ({why})", where="moss.toml api", mend="another api.port"
        ) from None
    listening.listen(128)
    return listening


def _printed(session: Session) -> "Told":
    def printed(event: "EventDict") -> None:
        """One sentence a step; a warning with what it is about."""
        said = event.get("says") or event.get("sentence")
        if said and event.get("event") != "tick":
            session.screen.note(told_of(event, str(said), datetime.now(UTC)))

    return printed


def told_of(event: "EventDict", said: str, at: datetime) -> str:
    """The line of a log event: when, what it is about in a person's words, the sentence."""
    about = [str(event[name]).replace("_", " ") for name in ("run", "stage") if event.get(name)]
    about += [LOOPS.get(str(event[name]), "moss serve") for name in ("loop",) if event.get(name)]
    said = said.removeprefix(f"{about[-1]} ") if about else said
    return " ".join([clock(at), plain(" ".join(about), 60) + ":" if about else "", plain(said, 300)]).replace("  ", " ")


def down(context: typer.Context, yes: bool = typer.Option(False, "--yes", help="do not ask")) -> None:
    """Stops the gateway, the hold proxy and the live agent that MOSS runs. Users get no answer after it."""
    session = at(context)
    home = session.wiring.home
    if serve_runs(home):
        raise Refused("moss serve of this home runs and would start them again", mend="end it first (Ctrl-C, SIGTERM)")
    live = live_line(session.wiring)
    processes = session.settings.live.kind == "process"
    known = live.running if processes else live.known
    beside = known or supervisor_runs(home) or proxy_runs(session.settings)
    if not beside and not gateway_runs(home):
        session.screen.lines(["nothing of this home runs"])
        return
    if live.known and live.running and not yes:
        if session.screen.json or not sys.stdin.isatty():
            raise UserError(f"{live.name} is live: its users would get no answer", mend="moss down --yes")
        typer.confirm(f"{live.name} is live. Stop it?", abort=True)
    if beside:
        session.wiring.target.shut_down()
    session.wiring.stop_gateway()
    if session.screen.json:
        session.screen.values(stopped=[live.name] if live.known else [], gateway=True)
    else:
        session.screen.lines(["the live agent, the hold proxy and the gateway have ended"])
