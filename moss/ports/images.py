"""Images of the substrate and what builds them. The docstrings are the contract (see `moss.ports`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from moss.domain.ids import CommitId, Digest, Key


@dataclass(frozen=True, slots=True)
class Image:
    """A built version of the substrate. `digest` is its identity, `name` for people (`clerk:9f2c1e7`).
    `registry` is the registry digest where it was pushed. `commit` is None for an image MOSS did not build."""

    digest: Digest
    name: str
    commit: CommitId | None
    registry: str | None = None


class ImageBuilder(Protocol):
    """Source tree -> image."""

    def build(self, tree: Path, commit: CommitId, name: str, key: Key, log: Path) -> Image:
        """Builds and smokes an image of `tree`. The same tree gives the same digest where the builder can.
        Raises: BuildFailed (the tree's fault), BuildBroken (ours), NoSpace."""

    def find(self, digest: Digest) -> Image | None:
        """The image, None when it is gone."""

    def remove(self, digest: Digest) -> None:
        """Absent is silent."""

    def list(self) -> Sequence[Image]:
        """All that this builder made and still holds."""
