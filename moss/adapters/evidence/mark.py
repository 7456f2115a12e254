"""Owns the words of a cursor: how far one file was read, and how to know that it is still that file.

Never opens a file. Invariant: a mark stands behind a newline (or at 0), so an unfinished line is always after it.
"""

import hashlib
from typing import Self

from pydantic import Field, ValidationError

from moss.domain.frozen import Frozen
from moss.ports import Cursor

TAIL = 256
"""Bytes before the mark that must still be there."""


class Bad(Frozen):
    """A refused line, read again at each scan."""

    at: int
    size: int


class CursorWords(Frozen):
    """What a source keeps in a cursor's words."""

    def cursor(self, of: str) -> Cursor:
        return Cursor(of, self.model_dump_json(exclude_defaults=True))

    @classmethod
    def read(cls, cursor: Cursor | None) -> Self:
        """The words of a cursor; the beginning where there is none or its words are not ours."""
        try:
            return cls.model_validate_json(cursor.mark) if cursor else cls()
        except ValidationError:
            return cls()


class Mark(CursorWords):
    """`at`: bytes read. `tail`: hash of the bytes just before. `inode`: finds the file again under a new name."""

    inode: str = ""
    at: int = Field(0, ge=0)
    tail: str = ""
    bad: tuple[Bad, ...] = ()


def tail_hash(data: bytes) -> str:
    """The hash of the bytes before a mark."""
    return hashlib.sha256(data).hexdigest()[:16]
