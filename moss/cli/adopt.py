"""Owns `moss adopt`: the live agent is tied to the commit it was built from, and from then on runs under MOSS.

Where an agent owns its port already, the move is explained, made once, and can be undone (`--undo`). Invariant:
nothing is stopped before everything that can fail was tried, and never a version whose files are not the commit's.
"""

import sys
import time
from typing import Annotated

import typer

from moss.api.around import live_line, uncommitted
from moss.api.plain import plain
from moss.api.says import LiveLine
from moss.cli.adopt_container import move_container, undo_container
from moss.cli.session import Session, at
from moss.domain.events import Stage
from moss.errors import Refused, UserError
from moss.ports import Readiness

LOOK = 0.05

MOVE = """The agent runs as process {pid} and owns port {port}. The move, once:
  1. build {name} from commit {commit} and prove that its files are those in {source}
  2. stop process {pid} with SIGTERM, at most {grace:g} s (whoever restarts it must be switched off before)
  3. start {name} under MOSS on the same state and port, behind the hold proxy
Messages of about two seconds are refused. Undo at any time: moss adopt --undo"""


def adopt(
    context: typer.Context,
    commit: Annotated[str | None, typer.Option("--commit", metavar="REF", help="without: substrate.branch")] = None,
    pid: Annotated[int | None, typer.Option("--pid", min=2, help="the process that runs now")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask before the move")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="the agent runs as it did before MOSS")] = False,
) -> None:
    """Ties the live agent to its commit and runs it under MOSS."""
    session = at(context)
    if undo:
        _undo(session)
        return
    wiring = session.wiring
    live = live_line(wiring)
    if live.known and not live.running and commit is None and pid is None:
        _again(session, live)
        return
    full = wiring.source.resolve(commit or wiring.settings.substrate.branch)
    if live.known and live.running:
        _refuse_other(live.commit, full, live.name)
        _told(session, live.name, full, "runs under MOSS already")
        return
    wiring.start_gateway()
    if wiring.settings.live.kind == "docker":
        image = move_container(session, full, yes)
        _wait(session)
        _told(session, image.name, full, f"serves on {_front(session)} under MOSS")
        return
    image = wiring.image_of(full)
    owner = pid or owner_of(wiring.settings.live.port)
    if owner is None:
        wiring.target.install(image)
    else:
        _move(session, owner, image.name, full, yes)
    _wait(session)
    _told(session, image.name, full, f"serves on {_front(session)} under MOSS")


def _front(session: Session) -> str:
    host, port = session.wiring.target.front()
    return f"{host}:{port}"


def _again(session: Session, live: LiveLine) -> None:
    """What was live before `moss down` starts again: never what the branch holds meanwhile. Raises: Refused."""
    wiring = session.wiring
    swapping = next((row.id for row in wiring.store.runs(active=True) if row.stage == Stage.SWAP), None)
    if swapping is not None:
        raise Refused(f"{swapping} is in the middle of its swap", mend="moss serve finishes it")
    image = wiring.builder.find(live.image) if live.image is not None else None
    if image is None:
        raise Refused(f"the image of {plain(live.name, 80)} is gone", mend="moss adopt --commit REF builds one")
    wiring.start_gateway()
    wiring.target.install(image)
    _wait(session)
    _told(session, live.name, live.commit or "not known", f"serves on {_front(session)} again")


def _wait(session: Session) -> None:
    """Until the agent is ready: who is told that it serves may send. Raises: Refused when it does not get ready."""
    target, ends = session.wiring.target, time.monotonic() + session.settings.live.start_seconds
    while (probe := target.probe()).readiness is not Readiness.READY:
        if probe.exit_code is not None or time.monotonic() > ends:
            mend = f"see {session.wiring.home}/live/agent.log, then moss doctor"
            raise Refused(f"the agent does not get ready: {plain(probe.detail, 200)}", mend=mend)
        time.sleep(LOOK)


def _refuse_other(known: str | None, wanted: str, name: str) -> None:
    if known != wanted:
        raise Refused(
            f"{name} is live, built from {(known or 'no known commit')[:12]}, not from {wanted[:12]}",
            mend="moss start makes a new version; adopt only tells what is",
        )


def _move(session: Session, pid: int, name: str, commit: str, yes: bool) -> None:
    from moss.adapters.targets.process.adoption import adopt_running

    wiring, settings = session.wiring, session.settings
    source = settings.path(settings.substrate.source)
    changed = uncommitted(wiring, wiring.source.resolve(commit))
    if changed:
        files = ", ".join(plain(path, 60) for path in changed[:3]) + (", ..." if len(changed) > 3 else "")
        raise Refused(
            f"the files in {source} are not those of {commit[:12]}: {files}",
            mend="commit them, or name the commit that runs: moss adopt --commit REF",
        )
    if not yes:
        words = MOVE.format(
            pid=pid,
            port=settings.live.port,
            name=name,
            commit=commit[:12],
            source=source,
            grace=settings.live.grace_seconds,
        )
        if session.screen.json or not sys.stdin.isatty():
            raise UserError(
                f"process {pid} owns port {settings.live.port}: the move stops it once", mend="moss adopt --yes"
            )
        session.screen.lines(words.split("\n"))
        typer.confirm("Move it now?", abort=True)
    image = wiring.image_of(wiring.source.resolve(commit))
    adopt_running(wiring.process_target, image, pid)


def _undo(session: Session) -> None:
    if session.settings.live.kind == "docker":
        name = undo_container(session)
        if session.screen.json:
            session.screen.values(undone=True, container=name)
        else:
            session.screen.lines([f"the agent runs as before MOSS, as container {plain(name, 80)}"])
        return
    from moss.adapters.targets.process.adoption import undo_adoption

    pid = undo_adoption(session.wiring.process_target)
    if pid is None:
        raise Refused(
            "no running agent was ever moved here: there is nothing to undo", mend="moss down stops what MOSS started"
        )
    if session.screen.json:
        session.screen.values(undone=True, pid=pid)
    else:
        session.screen.lines([f"the agent runs as before MOSS, as process {pid}"])


def _told(session: Session, name: str, commit: str, says: str) -> None:
    if session.screen.json:
        session.screen.values(name=name, commit=commit, says=says)
    else:
        session.screen.lines([f"{plain(name, 80)} (commit {commit[:12]}) {says}"])
        session.screen.note("next: moss doctor · moss serve")


def owner_of(port: int) -> int | None:
    """The process that listens on a port of this machine, None when nobody (whom we can see) does."""
    import psutil

    for found in psutil.net_connections("tcp"):
        if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr[1] == port and found.pid is not None:
            return int(found.pid)
    return None
