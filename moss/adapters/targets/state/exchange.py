"""Owns putting a snapshot in the place of a state folder that cannot be renamed: a volume, a mount point.

What is there goes aside into a folder of the state itself, then the copy's entries come in, one rename each. The
folders tell how far it got, so it may be killed anywhere and asked again: `incoming` alone is a copy being made, with
`displaced` the old entries are going aside, `arriving` means that they have gone, `displaced` alone that it is done.
Invariant: no entry is ever only half there, and none is lost before `settle`.
"""

import os
from pathlib import Path

from moss.adapters.targets.state import tree
from moss.errors import NoSpace, TargetError
from moss.files import remove_tree, sync_folder


def in_place(snapshot: Path, state: Path, name: str) -> None:
    """The entries of `state` become those of `snapshot`; done once for a `name`.

    Raises: NoSpace, TargetError, OSError.
    """
    incoming, arriving, displaced = (_beside(state, name, what) for what in ("incoming", "arriving", "displaced"))
    if not displaced.exists():
        remove_tree(incoming)
        try:
            tree.copy(snapshot, incoming, tree.copy_durably)
        except (NoSpace, TargetError):
            remove_tree(incoming)
            raise
        sync_folder(state)
        displaced.mkdir(mode=0o700)
    if incoming.exists():
        _move_all(state, displaced)
        os.rename(incoming, arriving)
    if arriving.exists():
        tree.same_look(arriving.stat(), state)
        _move_all(arriving, state)
        arriving.rmdir()
        tree.same_look(snapshot.stat(), state)
        sync_folder(state)


def settle(state: Path, name: str) -> None:
    """Drops what went aside, and a copy that a kill left. One that is half arrived is left to be finished."""
    if _beside(state, name, "arriving").exists():
        return
    for what in ("incoming", "displaced"):
        remove_tree(_beside(state, name, what))


def _move_all(source: Path, target: Path) -> None:
    for entry in os.listdir(source):
        if not entry.startswith(tree.OURS):
            os.rename(source / entry, target / entry)
    sync_folder(target)
    sync_folder(source)


def _beside(state: Path, name: str, what: str) -> Path:
    return state / f"{tree.OURS}{name}-{what}"
