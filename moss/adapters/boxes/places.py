"""Owns the folders behind a box's places on this host: made empty, filled from the spec, named by a mount.

Never starts anything. Invariant: what a read-only mount names is copied, so a box cannot change it.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from moss.errors import BoxRefused
from moss.files import copy_tree
from moss.ports import BoxSpec, MountName


def fill_places(spec: BoxSpec, fresh: Path, final: Path) -> dict[MountName, Path]:
    """Makes the places of a box below the existing folder `fresh`, which will be called `final`; where each is then.
    Raises: OSError for a mount that is no folder, BoxRefused for a file name that points out."""
    places = {name: final / name.value for name in MountName}
    for name in MountName:
        (fresh / name.value).mkdir(mode=0o700)
    for mount in spec.mounts:
        if not mount.source.is_dir():
            raise NotADirectoryError(f"{mount.source} is no folder")
        if mount.writable:
            places[mount.name] = mount.source.resolve()
        else:
            (fresh / mount.name.value).rmdir()
            copy_tree(mount.source, fresh / mount.name.value)
    put_files(fresh / MountName.IN.value, spec.files)
    return places


def put_files(folder: Path, named: Mapping[str, bytes]) -> None:
    """Raises: BoxRefused for a name that points out of `folder`."""
    for name, data in named.items():
        put(below(folder, name), data)


def put(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def below(folder: Path, name: str) -> Path:
    """The path of one of `BoxSpec.files`, its folders made. Raises: BoxRefused when it points out of `folder`."""
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise BoxRefused(f"{name!r} is no file name for a box")
    path = folder.joinpath(*parts)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def free_bytes(path: Path) -> int:
    space = os.statvfs(path)
    return space.f_bavail * space.f_frsize
