"""Owns the agent's output file: bounded, and never a pipe, since a pipe would end with the supervisor."""

import os
import shutil
from pathlib import Path

LIMIT = 8 << 20
"""bytes; one older file of the same size is kept"""


def opened(path: Path) -> int:
    """A descriptor that appends wherever the end is, also after `trim`."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)


OURS = "moss supervisor: "
"""how a line of the supervisor's own begins"""


def note(path: Path, sentence: str) -> None:
    """A line of the supervisor's own, beside the agent's."""
    apart = "" if tail(path, 1) in ("", "\n") else "\n"
    descriptor = opened(path)
    try:
        os.write(descriptor, f"{apart}{OURS}{sentence}\n".encode(errors="replace"))
    finally:
        os.close(descriptor)


def trim(path: Path, limit: int = LIMIT) -> None:
    """Over its limit the file is copied away and cut to nothing: the agent keeps its descriptor."""
    try:
        if path.stat().st_size <= limit:
            return
    except FileNotFoundError:
        return
    older = path.with_name(path.name + ".1")
    shutil.copyfile(path, older)
    older.chmod(0o600)
    os.truncate(path, 0)


def last_words(path: Path) -> str:
    """The end of what the agent that was started last wrote: nothing of an earlier one, nothing of ours."""
    lines = tail(path).splitlines()
    after = max((at for at, line in enumerate(lines, 1) if line.startswith(OURS)), default=0)
    return "\n".join(lines[after:])


def tail(path: Path, limit: int = 2000) -> str:
    """The end of it, for a person; empty when there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - limit))
            return log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
