"""Owns the copy of what a trial left in its state, for graders: bounded, plain files and folders only.

Never follows a link and never opens anything but a plain file: the folder is the candidate's work, and it may be
endless, sparse, unreadable or full of traps. Invariant: what cannot be copied within the bounds is the candidate's
fault and told as such (`Unfit`); what fails on this side is not.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from moss.errors import NoSpace

FILES = 20_000
DEPTH = 64
PATH_BYTES = 1024
PIECE = 1 << 20


class Unfit(Exception):
    """The state is not one that can be looked at: one sentence, for the trial's marks."""


@dataclass(slots=True)
class _Room:
    """What may still be copied."""

    bytes: int
    files: int
    most_files: int

    def take(self, size: int, where: str) -> None:
        self.files -= 1
        self.bytes -= size
        if self.files < 0:
            raise Unfit(f"the trial left more than {self.most_files} files and folders")
        if self.bytes < 0:
            raise Unfit(f"the trial left more bytes than trials.state_bytes allows, at {_shown(where)}")


def copy_left(state: Path, into: Path, most_bytes: int, files: int = FILES) -> None:
    """`state` copied to the new folder `into`; links, sockets, pipes and devices are left out.

    `most_bytes` bounds what the files say they hold, holes of sparse files included. Raises: Unfit, NoSpace.
    """
    try:
        into.mkdir(parents=True)
        into.chmod(0o755)
        root = _open(str(state), os.O_DIRECTORY, None, ".")
        try:
            _copy_folder(root, into, _Room(most_bytes, files, files), "", DEPTH)
        finally:
            os.close(root)
    except OSError as error:
        # what the candidate left was told as unfit already: this is the disk of this side
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace("no space to copy what a trial left for its graders: make room") from None
        raise


def _copy_folder(folder: int, into: Path, room: _Room, where: str, depth: int) -> None:
    if depth == 0 or len(os.fsencode(where)) > PATH_BYTES:
        raise Unfit(f"the trial left folders deeper than {DEPTH}, or longer than {PATH_BYTES} bytes by name")
    for name in _names(folder, where):
        path = f"{where}/{name}" if where else name
        seen = _look(name, folder, path)
        if stat.S_ISDIR(seen.st_mode):
            room.take(0, path)
            below = _open(name, os.O_DIRECTORY, folder, path)
            try:
                (into / name).mkdir()
                (into / name).chmod(0o755)  # a grader may be another user
                _copy_folder(below, into / name, room, path, depth - 1)
            finally:
                os.close(below)
        elif stat.S_ISREG(seen.st_mode):
            room.take(seen.st_size, path)
            _copy_file(_open(name, 0, folder, path), into / name, seen.st_size, path)


def _copy_file(source: int, into: Path, size: int, where: str) -> None:
    """At most `size` bytes: one that still grows ends where it was measured."""
    with open(source, "rb") as file, open(into, "xb") as out:
        os.fchmod(out.fileno(), 0o644)
        while size > 0:
            try:
                piece = file.read(min(PIECE, size))
            except OSError as error:
                raise _unreadable(where, error) from None
            if not piece:
                return
            out.write(piece)
            size -= len(piece)


def _look(name: str, folder: int, where: str) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        raise _unreadable(where, error) from None


def _names(folder: int, where: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise _unreadable(where, error) from None


def _open(name: str, flags: int, folder: int | None, where: str) -> int:
    # O_NONBLOCK: a pipe that took the place of the file must not hang us
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, dir_fd=folder)
    except OSError as error:
        raise _unreadable(where, error) from None


def _unreadable(where: str, error: OSError) -> Unfit:
    return Unfit(f"{_shown(where or '.')} in what the trial left cannot be read: {os.strerror(error.errno or 0)}")


def _shown(where: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in where)[:120]
