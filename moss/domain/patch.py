"""Owns the form of a diff: what a coding agent's work is taken as. Never git, never a file.

Everything in it was written by a coding agent: data, until `domain.policy` has looked at it.
"""

import re
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


@dataclass(frozen=True, slots=True)
class FileText:
    """What a patch's text says of one file. `path` is the name after the change (before it, when deleted).
    `modes` are (before, after) where the text names them; `kept` are context lines. `binary`: it has no lines."""

    path: str
    old_path: str | None = None
    modes: tuple[str | None, str | None] = (None, None)
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    binary: bool = False


def read_text(text: bytes) -> tuple[FileText, ...]:
    """The files of a git patch. Lines of a hunk are counted by its header, so no content passes for a header.
    Raises: ValueError for what is no git patch."""
    lines = text.decode(errors="surrogateescape").split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    at, found = 0, []
    while at < len(lines):
        if not lines[at].startswith("diff --git "):
            raise ValueError(f"line {at + 1}: a file's part begins with `diff --git`")
        at, file = _file(lines, at)
        found.append(file)
    return tuple(found)


_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_MODES = ("old mode ", "new mode ", "new file mode ", "deleted file mode ")
_NAMES = ("--- ", "+++ ", "rename from ", "rename to ", "copy from ", "copy to ")


def _file(lines: list[str], at: int) -> tuple[int, FileText]:
    """One file's part from its `diff --git` line on, and where the next begins."""
    title, head, at = lines[at], {}, at + 1
    while at < len(lines) and not lines[at].startswith(("diff --git ", "@@ ", "GIT binary patch", "Binary files ")):
        for word in (*_MODES, *_NAMES):
            if lines[at].startswith(word):
                head[word] = lines[at][len(word) :]
        at += 1
    binary = at < len(lines) and lines[at].startswith(("GIT binary patch", "Binary files "))
    while binary and at < len(lines) and not lines[at].startswith("diff --git "):
        at += 1
    sides: dict[str, list[str]] = {"+": [], "-": [], " ": []}
    while at < len(lines) and lines[at].startswith("@@ "):
        at = _hunk(lines, at, sides)
    old, new = _names(title, head)
    modes = (head.get("old mode ", head.get("deleted file mode ")), head.get("new mode ", head.get("new file mode ")))
    added, removed, kept = (tuple(sides[side]) for side in "+- ")
    return at, FileText(new or old or "", old if old != new else None, modes, added, removed, kept, binary)


def _hunk(lines: list[str], at: int, sides: dict[str, list[str]]) -> int:
    """Takes one hunk's lines to their sides; where it ends."""
    if not (counts := _HUNK.match(lines[at])):
        raise ValueError(f"line {at + 1}: no hunk header")
    old, new = (int(count or 1) if count is not None else 1 for count in counts.groups())
    at += 1
    while old > 0 or new > 0 or (at < len(lines) and lines[at].startswith("\\")):
        if at >= len(lines) or (mark := lines[at][:1] or " ") not in "+- \\":
            raise ValueError(f"line {at + 1}: the hunk ends before its header says")
        if mark != "\\":
            sides[mark].append(lines[at][1:])
            old, new = old - (mark != "+"), new - (mark != "-")
        at += 1
    if old < 0 or new < 0:
        raise ValueError(f"line {at}: the hunk is longer than its header says")
    return at


def _names(title: str, head: dict[str, str]) -> tuple[str | None, str | None]:
    """The file's names before and after. Without name lines (a change of mode, an empty file) the title has the same
    name twice."""
    old = head.get("rename from ", head.get("copy from ", head.get("--- ")))
    new = head.get("rename to ", head.get("copy to ", head.get("+++ ")))
    if old is None and new is None:
        both = title.removeprefix("diff --git ")
        half = (len(both) - 1) // 2
        old, new = both[:half], both[half + 1 :]
        if old.removeprefix("a/") != new.removeprefix("b/"):
            raise ValueError(f"the names of a file do not agree: {both[:200]}")
    return _name(old, "a/"), _name(new, "b/")


def _name(name: str | None, side: str) -> str | None:
    """A name of a header. git ends names that hold a blank with a tab."""
    name = name.removesuffix("\t") if name else name
    return None if name in (None, "/dev/null") else (name or "").removeprefix(side)
