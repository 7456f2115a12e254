"""Owns what boxes need to know of images: is it there, where is its tree, as whom does its program run.

Never builds or removes one. Invariant: a box runs as root only where the settings say so.
"""

import io
import os
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from moss import config
from moss.adapters.boxes.docker_config import TREE, ImageFacts
from moss.dockerd import Engine, Gone
from moss.domain.ids import Digest
from moss.errors import BoxRefused

NOBODY_SPECIAL = "10001:10001"
"""Whoever runs the boxes of a controller that is root, where the image names nobody."""


class Images:
    """Images by digest; None is the one for boxes that need none of the substrate. `trees` finds images that are
    plain trees: they run on that one."""

    def __init__(
        self, engine: Engine, settings: config.DockerBoxes, trees: Callable[[Digest], Path] | None = None
    ) -> None:
        self._engine, self._settings, self._trees = engine, settings, trees
        self._users: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def facts(self, digest: Digest | None) -> ImageFacts:
        """Raises: BoxRefused when it is gone."""
        if digest is not None and self._trees is not None:
            return replace(self.facts(None), workdir=TREE, tree=self._trees(digest))
        name = digest or self._settings.image
        found = self._engine.image(name)
        if found is None:
            mend = "" if digest else f" (mend: docker pull {name}, or scripts/images where nothing can be pulled)"
            raise BoxRefused(f"the image {name} is gone{mend}")
        told = found["Config"] or {}
        return ImageFacts(
            id=found["Id"],
            workdir=told.get("WorkingDir") or "/",
            user=told.get("User") or "",
            volumes=tuple(sorted(told.get("Volumes") or ())),
            env=dict(pair.split("=", 1) for pair in told.get("Env") or () if "=" in pair),
            entrypoint=tuple(told.get("Entrypoint") or ()),
            command=tuple(told.get("Cmd") or ()),
        )

    def user(self, image: ImageFacts, own: str | None = None) -> str:
        """`uid:gid` of the box's program: the settings' word, else the controller's own user so that both can read
        what the other writes, else (it is root) `own` or the image's user, else one that is nobody."""
        if self._settings.user is not None:
            return self._settings.user
        if os.geteuid() != 0:
            return f"{os.geteuid()}:{os.getegid()}"
        asked = image.user if own is None else own
        with self._lock:
            if (image.id, asked) not in self._users:
                self._users[image.id, asked] = self._named(image, asked)
            return self._users[image.id, asked]

    def _named(self, image: ImageFacts, asked: str) -> str:
        user, _, group = asked.partition(":")
        if user and not user.isdigit():
            uid, gid = self._passwd(image.id).get(user, ("0", "0"))
            user, group = uid, group if group.isdigit() else gid
        return f"{user}:{group or user}" if user.strip("0") else NOBODY_SPECIAL

    def _passwd(self, image: str) -> dict[str, tuple[str, str]]:
        """Name -> uid, gid of the image's /etc/passwd, read from a container that is never started."""
        api = self._engine.api
        with self._engine.saying("the image's users cannot be read"):
            made = api.create_container_from_config({"Image": image, "Cmd": ["-"], "NetworkDisabled": True})
            try:
                pieces, _ = api.get_archive(made["Id"], "/etc/passwd")
                with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
                    file = tar.extractfile("passwd")
                    text = file.read(1 << 20).decode(errors="replace") if file else ""
            except Gone:
                text = ""
            finally:
                api.remove_container(made["Id"], force=True, v=True)
        rows = [line.split(":") for line in text.splitlines()]
        return {row[0]: (row[2], row[3]) for row in rows if len(row) >= 4 and row[2].isdigit() and row[3].isdigit()}


def give(path: Path, user: str) -> None:
    """Makes `user` the owner of a folder and all in it, where this process may: root only. Links stay links."""
    if os.geteuid() != 0:
        return
    uid, _, gid = user.partition(":")
    os.chown(path, int(uid), int(gid), follow_symlinks=False)
    for folder, names, files in os.walk(path):
        for name in (*names, *files):
            os.chown(os.path.join(folder, name), int(uid), int(gid), follow_symlinks=False)
