"""Owns an image as a target stores it. No logic, no I/O."""

from moss.domain.frozen import Frozen
from moss.domain.ids import CommitId, Digest
from moss.ports import Image


class Version(Frozen):
    """An image, as it is stored."""

    digest: Digest
    name: str
    commit: CommitId | None = None
    registry: str | None = None

    @property
    def image(self) -> Image:
        return Image(self.digest, self.name, self.commit, self.registry)

    @classmethod
    def of(cls, image: Image) -> "Version":
        return cls(digest=image.digest, name=image.name, commit=image.commit, registry=image.registry)
