"""Owns images that are plain trees: an immutable copy under `home/images/<hex>/tree`, named by a hash of its content.

Never runs a candidate's command itself: `prepare` and `smoke` run in build boxes. Invariants: what stands under a
digest has that digest (`find` measures it again); a build that is killed leaves nothing that looks like an image.
"""

import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from moss.adapters.builders.steps import run_step
from moss.adapters.builders.tree_digest import drop_caches, freeze, tree_digest
from moss.config import CheckoutBuild
from moss.domain.frozen import Frozen
from moss.domain.ids import CommitId, Digest, Key, RunId
from moss.domain.launch import fill_all
from moss.errors import BoxRefused, BuildBroken, NoSpace
from moss.files import copy_tree, remove_tree, write_durably
from moss.ports import Boxes, BoxRole, BoxSpec, Image, Limits, Mount, MountName


class Stored(Frozen):
    """`image.json`: what a build wrote down. `source` is the digest of the tree as it came, before `prepare`."""

    digest: Digest
    name: str
    commit: CommitId | None
    key: Key
    source: Digest

    def image(self) -> Image:
        return Image(digest=self.digest, name=self.name, commit=self.commit)


def image_tree(home: Path, digest: Digest) -> Path:
    """The tree of an image of this home. Raises: BoxRefused when it is gone."""
    folder = _folder(home, digest)
    if not (folder / "image.json").exists():
        raise BoxRefused(f"the image {digest} is gone")
    return folder.resolve() / "tree"


class CheckoutBuilder:
    """Builds trees of `home`. `free_bytes` is the watermark below which no build begins."""

    def __init__(self, home: Path, settings: CheckoutBuild, boxes: Boxes, free_bytes: int = 0) -> None:
        self._home, self._settings, self._boxes, self._free_bytes = home, settings, boxes, free_bytes

    def build(self, tree: Path, commit: CommitId, name: str, key: Key, log: Path) -> Image:
        self._space()
        log.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(key) as staging:
            if (before := self._built(key, tree)) is not None:
                return before
            remove_tree(staging)
            try:
                return self._build(tree, commit, name, key, log, staging)
            except OSError as error:
                raise BuildBroken(f"{name} was not built: {error}") from None
            finally:
                remove_tree(staging)

    def find(self, digest: Digest) -> Image | None:
        folder = _folder(self._home, digest)
        stored = _stored(folder)
        if stored is None:
            return None
        drop_caches(folder / "tree")
        return stored.image() if tree_digest(folder / "tree") == digest else None

    def remove(self, digest: Digest) -> None:
        folder = _folder(self._home, digest)
        # the name goes first: what is half removed is no image
        (folder / "image.json").unlink(missing_ok=True)
        remove_tree(folder)

    def list(self) -> Sequence[Image]:
        return [stored.image() for stored in self._all()]

    def tree(self, digest: Digest) -> Path:
        """Where an image stands. Raises: BoxRefused when it is gone."""
        return image_tree(self._home, digest)

    # one build

    def _build(self, tree: Path, commit: CommitId, name: str, key: Key, log: Path, staging: Path) -> Image:
        staging.mkdir(mode=0o700)
        built = staging / "tree"
        copy_tree(tree, built)
        source = tree_digest(built)
        log.write_bytes(f"# {name} of {commit}: {source}\n".encode())
        self._step("prepare", self._settings.prepare, built, key, log)
        drop_caches(built)
        digest = tree_digest(built)
        if self._settings.smoke:
            # in a copy, so that what a smoke test writes is not part of the image
            copy_tree(built, staging / "smoke")
            self._step("smoke", self._settings.smoke, staging / "smoke", key, log)
        stored = Stored(digest=digest, name=name, commit=commit, key=key, source=source)
        self._keep(stored, built)
        return stored.image()

    def _keep(self, stored: Stored, built: Path) -> None:
        """Moves the tree under its digest; `image.json`, written last, makes it an image."""
        folder = _folder(self._home, stored.digest)
        if self.find(stored.digest) is None:
            self.remove(stored.digest)
            folder.mkdir(mode=0o700, parents=True)
            freeze(built)
            built.rename(folder / "tree").chmod(0o555)
        write_durably(folder / "image.json", stored.model_dump_json().encode())

    def _step(self, step: str, argv: tuple[str, ...], tree: Path, key: Key, log: Path) -> None:
        if not argv:
            return
        spec = BoxSpec(
            key=Key(f"{key}/{step}"),
            run=RunId(key.partition("/")[0]),
            role=BoxRole.BUILD,
            argv=fill_all(argv, {"image": "{work}"}),
            mounts=(Mount(MountName.WORK, tree, writable=True),),
            limits=Limits(seconds=self._settings.seconds),
        )
        run_step(self._boxes, spec, step, log)

    # what is there

    def _built(self, key: Key, tree: Path) -> Image | None:
        """The image that this very build made before a kill."""
        for stored in self._all():
            if stored.key == key and stored.source == tree_digest(tree):
                return self.find(stored.digest)
        return None

    def _all(self) -> Iterator[Stored]:
        for folder in sorted((self._home / "images").glob("[0-9a-f]*")):
            if (stored := _stored(folder)) is not None:
                yield stored

    def _space(self) -> None:
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(self._home).free
        if free < self._free_bytes:
            raise NoSpace(
                f"{self._home}: {free} bytes are free, a build needs {self._free_bytes} (retention.free_bytes)"
            )

    @contextlib.contextmanager
    def _locked(self, key: Key) -> Iterator[Path]:
        """One build of a key at a time, between controllers too; gives the folder it builds in."""
        images = self._home / "images"
        images.mkdir(mode=0o700, exist_ok=True)
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        with open(images / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield images / f".build-{name}"


def _folder(home: Path, digest: Digest) -> Path:
    return home / "images" / digest.removeprefix("sha256:")


def _stored(folder: Path) -> Stored | None:
    try:
        return Stored.model_validate_json((folder / "image.json").read_bytes())
    except FileNotFoundError:
        return None
