"""Owns the words of a cursor: how far one file was read, and how to know that it is still that file.

Never opens a file. Invariant: a mark stands behind a newline (or at 0), so an unfinished line is always after it.
"""

import hashlib

from pydantic import Field, ValidationError

from moss.domain.frozen import Frozen
from moss.ports import Cursor

TAIL = 256
"""Bytes before the mark that must still be there."""


class Bad(Frozen):
    """A refused line, read again at each scan."""

    at: int
    size: int


class Mark(Frozen):
    """`at`: bytes read. `tail`: hash of the bytes just before. `inode`: finds the file again under a new name."""

    inode: str = ""
    at: int = Field(0, ge=0)
    tail: str = ""
    bad: tuple[Bad, ...] = ()

    def cursor(self, path: str) -> Cursor:
        return Cursor(path, self.model_dump_json(exclude_defaults=True))


def mark_of(cursor: Cursor | None) -> Mark:
    """The mark of a cursor; the beginning where there is none or its words are not ours."""
    try:
        return Mark.model_validate_json(cursor.mark) if cursor else Mark()
    except ValidationError:
        return Mark()


def tail_hash(data: bytes) -> str:
    """The hash of the bytes before a mark."""
    return hashlib.sha256(data).hexdigest()[:16]
