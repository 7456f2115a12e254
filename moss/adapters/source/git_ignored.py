"""Owns what of an agent's work tree is left out because a `.gitignore` says so.

Never lets git look at the work tree itself (a nested repository or a symlink in it would matter): git is asked over a
skeleton that holds the `.gitignore` files alone. Invariant: what the base commit holds is never ignored.
"""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from moss.adapters.source.git_program import Git
from moss.adapters.source.git_trees import LINK, Found
from moss.domain.ids import CommitId
from moss.errors import UserError
from moss.files import read_beneath

RULES_BYTES = 1 << 20


def ignored(
    git: Git, prefix: str, base: CommitId, tree: Path, found: Sequence[Found], known: frozenset[bytes], scratch: Path
) -> frozenset[bytes]:
    """Paths of `found` to leave out. The folders above `prefix` say what they say in `base`."""
    asked = [item.path for item in found if item.path not in known]
    if not asked:
        return frozenset()
    skeleton = scratch / "skeleton"
    _above(git, prefix, base, skeleton)
    for item in found:
        if os.path.basename(item.path) == b".gitignore" and item.mode != LINK:
            path = os.fsdecode(item.path)
            _rules(skeleton / prefix / path, read_beneath(tree, path, RULES_BYTES) or b"")
    own = git.within(GIT_WORK_TREE=str(skeleton), GIT_INDEX_FILE=str(scratch / "no-index")).at(skeleton)
    # `./`: a name that begins with a colon is a name, not git's pathspec magic
    start = b"./" + os.fsencode(prefix)
    lines = b"".join(start + path + b"\0" for path in asked)
    ran = own.ask("check-ignore", "-z", "--stdin", "--no-index", stdin=lines)
    if ran.code not in (0, 1):
        raise UserError(f"git check-ignore failed: {ran.err[-300:]}", where=str(tree))
    return frozenset(path.removeprefix(start) for path in ran.out.split(b"\0")[:-1])


def _above(git: Git, prefix: str, base: CommitId, skeleton: Path) -> None:
    """The `.gitignore` files of the folders that the source is in."""
    (skeleton / prefix).mkdir(parents=True, exist_ok=True)
    if prefix:
        for folder in PurePosixPath(prefix).parents:
            found = git.ask("cat-file", "blob", f"{base}:{folder / '.gitignore'}")
            if found.code == 0:
                _rules(skeleton / folder / ".gitignore", found.out)


def _rules(path: Path, rules: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rules)
