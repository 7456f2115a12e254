"""Owns `moss adopt` where the live agent is a container: explained, compared, moved once, moved back.

Invariant: nothing is stopped before the image was built anew from the commit and its files are those that run.
"""

import sys
from typing import TYPE_CHECKING

import typer

from moss.api.plain import plain
from moss.cli.session import Session
from moss.errors import Refused, UserError

if TYPE_CHECKING:
    from moss.adapters.targets.docker.running import Running
    from moss.ports import Image
    from moss.wiring import Wiring

MOVE = """The agent runs as container {name} from image {image}. The move, once:
  1. build {candidate} from commit {commit}: its files in {folder} are those that run (done)
  2. stop {name} with its own grace, at most {grace:g} s, and keep it as {name}.before-moss
  3. start the same from {candidate}, on the same volumes and networks; the hold proxy takes its port
Messages of about two seconds are refused. Undo at any time: moss adopt --undo"""
FEW = 3


def move_container(session: Session, commit: str, yes: bool) -> "Image":
    """The container under MOSS, from the image of `commit`. Raises: Absent, Refused, UserError, TargetError."""
    from moss.adapters.targets.docker.compose import agreed
    from moss.adapters.targets.docker.running import look, objections, warnings

    wiring = session.wiring
    target, live = wiring.docker_target, session.settings.live
    image = wiring.image_of(wiring.source.resolve(commit))
    known = target.adoption.known()
    if known is not None and known.new is not None and not known.done:
        target.adoption.go_on(known)
        return image
    running = look(target.engine, target.live.container)
    if (no := next(objections(running, target.live), None)) is not None:
        raise no
    taken = live.port if live.drain == "hold" else None
    project = agreed(running, taken, session.env, target.engine.address if target.live.engine else None)
    folder = _compared(wiring, running, image, commit)
    told = [f"look at: {plain(line, 300)}" for line in (*warnings(running, target.live), *project.notes)]
    words = MOVE.format(
        name=running.name,
        image=plain(running.image_name, 80),
        candidate=image.name,
        commit=commit[:12],
        folder=folder,
        grace=live.grace_seconds,
    )
    if not yes:
        if session.screen.json or not sys.stdin.isatty():
            raise UserError(f"the move stops the container {running.name} once", mend="moss adopt --yes")
        session.screen.lines([*words.split("\n"), *told])
        typer.confirm("Move it now?", abort=True)
    elif not session.screen.json:
        session.screen.lines(told)
    target.adoption.adopt(running, image, project.hash)
    return image


def undo_container(session: Session) -> str:
    """The container's name; it runs as before MOSS. Raises: Refused when it was never moved."""
    name = session.wiring.docker_target.adoption.undo()
    if name is None:
        raise Refused(
            "no running agent was ever moved here: there is nothing to undo", mend="moss down stops what MOSS started"
        )
    return name


def _compared(wiring: "Wiring", running: "Running", image: "Image", commit: str) -> str:
    """The folder whose files are the same in both images. Raises: Refused."""
    from moss.adapters.targets.docker.same_files import differences

    folder = str((running.image.get("Config") or {}).get("WorkingDir") or "/")
    found = differences(wiring.docker_target.engine, running.told["Image"], image.digest, folder)
    if found:
        files = ", ".join(plain(path, 60) for path in found[:FEW]) + (", ..." if len(found) > FEW else "")
        raise Refused(
            f"what {running.name} runs is not what {commit[:12]} makes; in {folder} differ: {files}",
            mend="commit what runs, or name the commit that it was built from: moss adopt --commit REF",
        )
    return folder
