"""Owns one image as the engine knows it: id, tags, labels. Never asks the engine itself."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moss.dockerd.labels import HOME
from moss.domain.ids import CommitId, Digest
from moss.ports import Image

NAME, COMMIT, SOURCE, BASE = "moss.dev/name", "moss.dev/commit", "moss.dev/source", "moss.dev/base"
"""Labels, beside those of `labels`. `source` is the tree's digest with the settings of the build; `base` the ids of the
images in FROM."""


@dataclass(frozen=True, slots=True)
class Found:
    """An image; `labels` are whatever it carries, ours or not."""

    id: str
    tags: tuple[str, ...]
    pushed: tuple[str, ...]
    labels: Mapping[str, str]

    @staticmethod
    def of(
        id: str,
        tags: Sequence[str] | None,
        pushed: Sequence[str] | None,
        labels: Mapping[str, str] | None,
    ) -> "Found":
        real = tuple(tag for tag in tags or () if tag != "<none>:<none>")
        return Found(id, real, tuple(name for name in pushed or () if not name.startswith("<none>")), labels or {})

    def whole(self, home: str) -> bool:
        """Whether this home built it to the end."""
        ours = {NAME, COMMIT, SOURCE} <= set(self.labels) and self.labels.get(HOME) == home
        return ours and any(tag.startswith(f"{repository(home)}/") for tag in self.tags)

    def image(self) -> Image:
        """Named as its builder named it, else by a tag, else by its id."""
        registry = self.pushed[0] if self.pushed else None
        name = self.labels.get(NAME) or (self.tags[0] if self.tags else self.id[7:19])
        commit = self.labels.get(COMMIT)
        return Image(Digest(self.id), name, CommitId(commit) if commit else None, registry)


def repository(home: str) -> str:
    return f"moss-{home}"


def reference(word: str) -> str:
    """A word as a part of an image's name may be written."""
    return re.sub(r"[^a-z0-9._-]+", "-", word.lower()).strip("._-")[:100] or "agent"
