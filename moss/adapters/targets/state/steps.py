"""Owns the steps on one state folder, by name: done here, or in a helper that sees the folder. Decides nothing.

Invariant: where it runs makes no difference to what is done.
"""

import os

from moss.adapters.targets.state import running_copy, tree
from moss.adapters.targets.state.snapshots import Snapshots
from moss.adapters.targets.state.words import Answer, Asked, Taken
from moss.errors import NoSpace, TargetError


def perform(asked: Asked, *, hardens: bool = True) -> Answer:
    """One step. Raises: NoSpace, TargetError."""
    snapshots = Snapshots(asked.folder, asked.state, in_place=True, hardens=hardens)
    match asked.do:
        case "take":
            snapshot = snapshots.take(asked.key, asked.limit_bytes)
            if snapshot is not None:
                return Answer(taken=Taken(key=snapshot.key, bytes=snapshot.bytes, seconds=snapshot.seconds))
        case "harden":
            snapshots.harden(asked.key)
        case "restore":
            _restore(snapshots, asked)
        case "settle":
            snapshots.settle(asked.key)
        case "forget":
            snapshots.forget(asked.key)
        case "copy":
            _copy(asked)
    return Answer()


def _restore(snapshots: Snapshots, asked: Asked) -> None:
    try:
        snapshots.restore(asked.key)
    except OSError as error:
        said = f"{asked.state}: the snapshot cannot be put in its place ({error.strerror})"
        raise TargetError(said) from error


def _copy(asked: Asked) -> None:
    """The state under a running agent, for `owner`."""
    assert asked.into is not None
    size, free = tree.measure(asked.state), tree.free(asked.into)
    if free < size:
        raise NoSpace(f"a copy of the state takes {size} bytes, {free} are free at {asked.into}")
    running_copy.copy(asked.state, asked.into)
    if asked.owner is not None:
        for folder, folders, files in os.walk(asked.into):
            for name in (".", *folders, *files):
                os.chown(os.path.join(folder, name), *asked.owner, follow_symlinks=False)
