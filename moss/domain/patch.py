"""Owns the form of a diff: what a coding agent's work is taken as. Never git, never a file.

Everything in it was written by a coding agent: data, until `domain.policy` has looked at it.
"""

from dataclasses import dataclass
from typing import Literal

from moss.domain.ids import CommitId


@dataclass(frozen=True, slots=True)
class FileChange:
    """One changed path. `status`: A added, M modified, D deleted, T type changed.
    `mode` is git's after the change (`100644`), None when it is gone."""

    path: str
    status: Literal["A", "M", "D", "T"]
    added: int
    removed: int
    binary: bool
    mode: str | None


@dataclass(frozen=True, slots=True)
class Patch:
    """A diff against a commit. `text` is a git patch; paths are relative, `/`-separated, never quoted."""

    base: CommitId
    text: bytes
    files: tuple[FileChange, ...]
