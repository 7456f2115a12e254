"""Owns the comparison of two images' files in one folder: is what runs what the commit makes?

Never starts anything of either: files are read from containers that are made and removed unstarted. Invariant: what
cannot be compared counts as different.
"""

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from io import BufferedReader, RawIOBase

from moss.dockerd import Engine, Gone

BYTES = 2 << 30
"""of a folder, from which on nothing is compared"""
MADE_ANEW = ("__pycache__/", ".pyc")
"""what each build or start makes anew, and nobody minds"""


def differences(engine: Engine, one: str, other: str, folder: str) -> list[str]:
    """Paths below `folder` that are not the same file in both images, the smallest first; empty: they are alike."""
    if one == other:
        return []
    ours, theirs = _files(engine, one, folder), _files(engine, other, folder)
    return sorted(path for path in {*ours, *theirs} if ours.get(path) != theirs.get(path))


class _Pieces(RawIOBase):
    """The pieces of an answer as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left, self._room = pieces, b"", BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._room -= len(piece)
            if self._room < 0:
                raise tarfile.ReadError("too large")
            self._left = piece
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


def _files(engine: Engine, image: str, folder: str) -> Mapping[str, str]:
    """Path -> what it is: its kind, rights and content."""
    try:
        with engine.saying(f"the files of the image {image[:19]} cannot be read"):
            made = engine.api.create_container_from_config({"Image": image, "Cmd": ["-"], "NetworkDisabled": True})
            try:
                pieces, _ = engine.api.get_archive(made["Id"], folder)
                return dict(_told(pieces))
            finally:
                engine.api.remove_container(made["Id"], force=True, v=True)
    except Gone:
        return {folder: f"not in {image}"}
    except tarfile.TarError:
        return {folder: f"of {image} cannot be read"}


def _told(pieces: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    with tarfile.open(fileobj=BufferedReader(_Pieces(iter(pieces))), mode="r|") as tar:
        for member in tar:
            if member.isdir() or any(part in member.name for part in MADE_ANEW):
                continue
            file = tar.extractfile(member) if member.isreg() else None
            digest = hashlib.sha256()
            while file is not None and (piece := file.read(1 << 20)):
                digest.update(piece)
            executable = bool(member.mode & 0o111)
            yield (
                member.name.partition("/")[2] or member.name,
                f"{member.type!r} {executable} {member.linkname} {digest.hexdigest()}",
            )
