"""Owns the box of a substrate process: trial, check, preflight. One function for all, so they differ in nothing else.

The live target starts its process by the same `domain.launch.launch`, or tells how its container is started
(`own_start`): what was proven is what goes live.
"""

import secrets
import shutil
from pathlib import Path

from moss.config import Settings
from moss.domain.ids import Digest, Key, RunId
from moss.domain.launch import launch
from moss.engine.offload import offload
from moss.engine.parts import Parts
from moss.errors import BoxRefused
from moss.ports import BoxRole, BoxSpec, Image, Limits, Mount, MountName, OwnStart

LINES_VARIABLE = "MOSS_LINES"
"""names a file to a substrate in a box: one that can tell writes there which of its lines ran, as JSON
`{"relative/path.py": [41, 42]}`, at the latest when a turn has been answered"""
LINES_FILE = "lines.json"


async def image_of(parts: Parts, digest: Digest) -> Image:
    """The image that a box is to run. Raises: BoxRefused when it is gone."""
    image = await offload(parts.builder.find, digest)
    if image is None:
        raise BoxRefused(f"the image {digest[:19]} is gone")
    return image


def substrate_box(
    settings: Settings,
    role: BoxRole,
    image: Image,
    key: Key,
    run: RunId,
    state: Path,
    gateway: str,
    token: str,
    own: OwnStart | None = None,
) -> BoxSpec:
    """The spec of the substrate's own process on a state folder of its own, outward effects switched off. `own`: how
    the live agent is started where `live.argv` does not say all of it."""
    live = settings.live
    # in the preflight too, where nobody reads it: what is proven and what is tried last are told the same
    told = {LINES_VARIABLE: f"{{out}}/{LINES_FILE}"}
    start = launch(live.argv, live.env, {**live.preflight_env, **told}, gateway, token)
    return BoxSpec(
        key=key,
        run=run,
        role=role,
        argv=start.argv,
        image=image,
        env=start.env,
        mounts=(Mount(MountName.STATE, state, writable=True),),
        workdir="{image}",
        port=True,
        limits=limits(settings),
        own=own,
    )


def check_box(settings: Settings, image: Image, key: Key, run: RunId, seconds: float) -> BoxSpec:
    """The substrate's own tests on an image: no gateway, no state, no port."""
    return BoxSpec(
        key=key,
        run=run,
        role=BoxRole.CHECK,
        argv=settings.substrate.check,
        image=image,
        env=dict(settings.live.preflight_env),
        workdir="{image}",
        limits=Limits(seconds=seconds, memory_bytes=settings.trials.memory_bytes, pids=settings.trials.pids),
    )


def limits(settings: Settings) -> Limits:
    """The bounds of a trial's box: the time to get ready comes on top of the time for its turns."""
    trials = settings.trials
    return Limits(
        seconds=settings.live.start_seconds + trials.seconds, memory_bytes=trials.memory_bytes, pids=trials.pids
    )


def fresh_state(settings: Settings, seed: str | None, folder: Path) -> Path:
    """A new state folder below `folder` for one trial: empty, or a copy of the seed (the case's, else the settings').

    Its name is its own: what an attempt before left is never started from, and one that lost its claim and is still
    at work writes elsewhere.
    """
    into = folder / f"state-{secrets.token_hex(4)}"
    source = settings.path(Path(seed)) if seed else settings.trials.seed and settings.path(settings.trials.seed)
    if source:
        shutil.copytree(source, into, symlinks=True)
    else:
        into.mkdir(parents=True)
    return into
