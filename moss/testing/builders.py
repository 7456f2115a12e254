"""Owns an image builder in memory: trees are copied and named by their files, failures are scripted. Runs nothing.

It is held to the same conformance suite as the real builders.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from moss.domain.ids import CommitId, Digest, Key
from moss.errors import BoxRefused, MossError
from moss.files import copy_tree, remove_tree
from moss.ports import Image

Smoke = Callable[[Path], MossError | None]
"""Looks at a built tree; the error it gives is raised."""


class FakeBuilder:
    """Trees are kept below `root`. `built` is every key that was asked for, in order."""

    def __init__(self, root: Path, smoke: Smoke = lambda tree: None) -> None:
        self.built: list[Key] = []
        self._root, self._smoke = root, smoke
        self._images: dict[Digest, Image] = {}
        self._failures: list[tuple[str, MossError]] = []

    def fail(self, key: str, error: MossError, times: int = 1) -> None:
        """The next `times` builds whose key fits the glob `key` raise `error`."""
        self._failures += [(key, error)] * times

    def build(self, tree: Path, commit: CommitId, name: str, key: Key, log: Path) -> Image:
        self.built.append(key)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"# {name} of {commit}\n")
        error = self._failure(key) or self._smoke(tree)
        if error is not None:
            with log.open("a") as out:
                out.write(f"{error}\n")
            raise error
        image = Image(_digest(tree), name, commit)
        if image.digest not in self._images:
            copy_tree(tree, self._path(image.digest))
        self._images[image.digest] = image
        return image

    def find(self, digest: Digest) -> Image | None:
        return self._images.get(digest)

    def remove(self, digest: Digest) -> None:
        if self._images.pop(digest, None) is not None:
            remove_tree(self._path(digest))

    def list(self) -> Sequence[Image]:
        return [replace(image) for image in self._images.values()]

    def tree(self, digest: Digest) -> Path:
        """Where an image stands. Raises: BoxRefused when it is gone."""
        if digest not in self._images:
            raise BoxRefused(f"the image {digest} is gone")
        return self._path(digest)

    def _path(self, digest: Digest) -> Path:
        return self._root / digest.removeprefix("sha256:")

    def _failure(self, key: Key) -> MossError | None:
        for number, (glob, error) in enumerate(self._failures):
            if fnmatchcase(key, glob):
                del self._failures[number]
                return error
        return None


def _digest(tree: Path) -> Digest:
    whole = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        content = b"" if path.is_dir() and not path.is_symlink() else _content(path)
        head = f"{path.relative_to(tree)!s}\0{path.lstat().st_mode & 0o170100}\0{len(content)}\0"
        whole.update(head.encode(errors="backslashreplace") + content)
    return Digest(f"sha256:{whole.hexdigest()}")


def _content(path: Path) -> bytes:
    return os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
