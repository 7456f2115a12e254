"""Owns the content hash of a tree: paths, kinds, executable bits and bytes, sorted. Never times or owners.

Python's `__pycache__` folders do not count: an interpreter leaves them in whatever tree it runs, so images are made
without them and lose them when they are looked at. Invariant: two trees with the same digest run the same.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from moss.domain.ids import Digest
from moss.files import remove_tree

CHUNK = 1 << 20
CACHE = b"__pycache__"


def tree_digest(root: Path) -> Digest:
    """`sha256:` of one line an entry: kind, executable or not, path, and the hash of its bytes (a link's target)."""
    whole = hashlib.sha256()
    base = os.fsencode(root)
    for path in _entries(base):
        kind, content = _entry(os.path.join(base, path))
        # the length in front: a newline in a name must not look like the next entry
        whole.update(b"%s %d " % (kind, len(path)) + path + b" " + content + b"\n")
    return Digest(f"sha256:{whole.hexdigest()}")


def drop_caches(root: Path) -> None:
    """Removes what an interpreter left below `root`."""
    for folder, names, _files in os.walk(os.fsencode(root)):
        if CACHE in names:
            names.remove(CACHE)
            remove_tree(Path(os.fsdecode(os.path.join(folder, CACHE))))


def freeze(root: Path) -> None:
    """Takes the right to write from all files and folders below `root`, and from `root`."""
    for folder, _names, files in os.walk(root, topdown=False):
        for name in files:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                os.chmod(path, 0o555 if os.stat(path).st_mode & 0o100 else 0o444)
        os.chmod(folder, 0o755 if folder == str(root) else 0o555)


def _entries(root: bytes) -> Iterator[bytes]:
    """Relative paths, each folder before what it holds, in an order that only the names decide."""
    todo = [b""]
    while todo:
        below = todo.pop()
        if below:
            yield below
        if not below or stat.S_ISDIR(os.lstat(os.path.join(root, below)).st_mode):
            names = sorted(os.listdir(os.path.join(root, below)), reverse=True)
            todo += [os.path.join(below, name) for name in names if name != CACHE]


def _entry(path: bytes) -> tuple[bytes, bytes]:
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return b"link", hashlib.sha256(os.readlink(path)).hexdigest().encode()
    if stat.S_ISDIR(mode):
        return b"folder", b"-"
    if not stat.S_ISREG(mode):
        return b"special", b"-"
    content = hashlib.sha256()
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        while piece := file.read(CHUNK):
            content.update(piece)
    return b"program" if mode & 0o100 else b"file", content.hexdigest().encode()
