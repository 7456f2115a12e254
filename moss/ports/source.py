"""The substrate's source. The docstrings are the contract (see `moss.ports`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from moss.domain.ids import CommitId, Key
from moss.domain.patch import Patch


class Source(Protocol):
    """The substrate's source. Works on a mirror of its own; the user's checkout is never touched."""

    def resolve(self, ref: str) -> CommitId:
        """The commit of a branch, tag or abbreviation. Raises: UserError when there is none."""

    def export(self, commit: CommitId, into: Path) -> None:
        """The tree of `commit` as plain files without history, replacing what `into` holds. Idempotent."""

    def diff(self, base: CommitId, tree: Path) -> Patch:
        """What `tree` (a folder of plain files that an agent worked in) changed since `base`.
        Symlinks are taken as links and never followed; ignored and special files and nested `.git`s are left out.
        Where the change is beyond all measure, `files` names it all and `text` is empty: the policy refuses it.
        Raises: Refused when something still works in the tree."""

    def commit(self, patch: Patch, message: str, key: Key) -> CommitId:
        """`patch` applied to a clean tree of its base, committed under `refs/moss/<key>`. Idempotent by key.
        Raises: Refused when it does not apply, or does anything but what its `files` say."""

    def changed_lines(self, base: CommitId, candidate: CommitId) -> Mapping[str, Sequence[int]]:
        """Path -> line numbers of `candidate` that it added or changed."""

    def patch_between(self, base: CommitId, candidate: CommitId) -> Patch:
        """The diff of two commits."""

    def publish(self, branch: str, commit: CommitId) -> None:
        """Moves `branch` of the user's repository to `commit` (never the one that is checked out)."""
