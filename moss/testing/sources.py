"""Owns a source in plain folders: a commit is a folder, a diff is made by `difflib`. Never runs git.

For tests that walk whole runs. It gives what the engine asks of `moss.ports.Source`; what is git's own (links, ignored
and binary files, refs of a user's repository) it does not know. Invariant: a commit's folder is there whole or not.
"""

import difflib
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from moss.domain.ids import CommitId, Key
from moss.domain.patch import FileChange, Patch
from moss.errors import Refused, UserError


class FolderSource:
    """Commits below `root`; it may be opened again on what it left there. `published` are moved branches."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def add(self, commit: CommitId, tree: Path) -> None:
        """A commit that is there from the beginning."""
        self._keep(self._commit(commit), tree)

    @property
    def published(self) -> Mapping[str, str]:
        folder = self._root / "branches"
        return {path.name: path.read_text() for path in folder.iterdir()} if folder.is_dir() else {}

    def resolve(self, ref: str) -> CommitId:
        if not self._commit(CommitId(ref)).is_dir():
            raise UserError(f"there is no {ref}")
        return CommitId(ref)

    def export(self, commit: CommitId, into: Path) -> None:
        shutil.rmtree(into, ignore_errors=True)
        shutil.copytree(self._commit(self.resolve(commit)), into)

    def diff(self, base: CommitId, tree: Path) -> Patch:
        patch = _patch(base, self._commit(base), tree)
        self._keep(self._root / "trees" / _name(patch.text, base), tree)
        return patch

    def commit(self, patch: Patch, message: str, key: Key) -> CommitId:
        tree = self._root / "trees" / _name(patch.text, patch.base)
        if not tree.is_dir():
            raise Refused("the patch does not apply")
        commit = CommitId(hashlib.sha1(f"{patch.base}/{key}".encode() + patch.text, usedforsecurity=False).hexdigest())
        self._keep(self._commit(commit), tree)
        return commit

    def changed_lines(self, base: CommitId, candidate: CommitId) -> Mapping[str, Sequence[int]]:
        return {change.path: (1,) for change in self.patch_between(base, candidate).files}

    def patch_between(self, base: CommitId, candidate: CommitId) -> Patch:
        return _patch(base, self._commit(base), self._commit(candidate))

    def publish(self, branch: str, commit: CommitId) -> None:
        place = self._root / "branches" / branch.replace("/", "_")
        place.parent.mkdir(exist_ok=True)
        place.write_text(commit)

    def _commit(self, commit: CommitId) -> Path:
        return self._root / "commits" / commit

    def _keep(self, place: Path, tree: Path) -> None:
        if place.is_dir():
            return
        half = place.with_name(f"{place.name}.{os.urandom(4).hex()}")
        shutil.copytree(tree, half)
        try:
            half.rename(place)
        except OSError:
            shutil.rmtree(half)


def _name(text: bytes, base: CommitId) -> str:
    return hashlib.sha256(base.encode() + text).hexdigest()


def _files(tree: Path) -> dict[str, list[str]]:
    found = sorted(path for path in tree.rglob("*") if path.is_file())
    return {path.relative_to(tree).as_posix(): path.read_text().splitlines(keepends=True) for path in found}


def _patch(base: CommitId, old_tree: Path, new_tree: Path) -> Patch:
    old, new = _files(old_tree), _files(new_tree)
    text, changes = "", []
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before != after:
            text += _file_text(path, before, after)
            changes.append(_change(path, before, after))
    return Patch(base, text.encode(), tuple(changes))


def _file_text(path: str, before: list[str] | None, after: list[str] | None) -> str:
    names = ("/dev/null" if before is None else f"a/{path}", "/dev/null" if after is None else f"b/{path}")
    mode = "new file mode 100644\n" if before is None else "deleted file mode 100644\n" if after is None else ""
    lines = difflib.unified_diff(before or [], after or [], *names)
    shown = "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return f"diff --git a/{path} b/{path}\n{mode}{shown}"


def _change(path: str, before: list[str] | None, after: list[str] | None) -> FileChange:
    lines = list(difflib.ndiff(before or [], after or []))
    added, removed = (sum(line.startswith(mark) for line in lines) for mark in ("+ ", "- "))
    status: Literal["A", "D", "M"] = "A" if before is None else "D" if after is None else "M"
    return FileChange(path, status, added, removed, False, None if after is None else "100644")
