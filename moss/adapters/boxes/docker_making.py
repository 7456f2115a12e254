"""Owns the making of a container box: its folder, its container in a slot, its start.

Never judges how it ends. Invariant: what a kill leaves at any step is either a box that was never started (made anew
by the next launch) or a whole one.
"""

import contextlib
import uuid
from datetime import UTC, datetime
from pathlib import Path

from moss.adapters.boxes import docker_config
from moss.adapters.boxes.docker_config import ImageFacts, place
from moss.adapters.boxes.docker_container import BOOT, BOX, Container
from moss.adapters.boxes.docker_folder import Ended, Folder, Launched
from moss.adapters.boxes.docker_images import Images, give
from moss.adapters.boxes.docker_keeper import BOX_PORT, size
from moss.adapters.boxes.docker_slots import SLOT, SlotGone, Slots
from moss.adapters.boxes.places import fill_places
from moss.dockerd import Config
from moss.dockerd.labels import HOME, KEY, ROLE, RUN
from moss.domain.launch import fill, fill_all
from moss.errors import BoxRefused
from moss.files import remove_tree
from moss.ports import BoxSpec, ExitReason, MountName

BEFORE_START = 30.0
"""Seconds that a box has beyond its own until its start is known."""


class Making:
    """Makes the boxes of one home."""

    def __init__(self, slots: Slots, images: Images, tag: str) -> None:
        self._slots, self._images, self._tag = slots, images, tag

    def make(self, spec: BoxSpec, folder: Folder, container: Container) -> None:
        """All but the start. Raises: BoxRefused, NoSpace."""
        image = self._images.facts(spec.image.digest if spec.image else None)
        own = spec.own
        if own is not None and own.port == self._slots.port:
            mend = "another gateway.port in moss.toml"
            raise BoxRefused(f"the agent's port {own.port} is the gateway's, and a box has both (mend: {mend})")
        user = self._images.user(image, own.user if own else None)
        told = self._lay_out(spec, folder, image, user)
        try:
            with self._slots.taken() as slot:
                container.create(self._config(spec, folder, told, image, user, slot))
        except BaseException:
            folder.remove()
            raise
        self._watch(slot, spec, folder, told)

    def start(self, spec: BoxSpec, folder: Folder, container: Container) -> None:
        """Raises: BoxRefused, NoSpace."""
        state = container.state()
        folder.begin()
        with contextlib.ExitStack() as opened:
            feed = opened.enter_context(container.stdin()) if spec.stdin else None
            if (failed := container.start()) is not None:
                code, said = failed
                folder.end(Ended(code=code, reason=ExitReason.EXITED, seconds=0.0, errors=f"moss: {said}\n"))
                container.remove()
                return
            if state is not None:
                with contextlib.suppress(SlotGone):
                    self._slots.order(state.slot, do="until", box=folder.path.name, seconds=spec.limits.seconds)
            if feed is not None:
                feed(spec.stdin, folder)

    def fresh(self, folder: Folder) -> Path:
        """Where a folder stands until it is whole."""
        return folder.path.with_name(f".new-{folder.path.name}")

    def _lay_out(self, spec: BoxSpec, folder: Folder, image: ImageFacts, user: str) -> Launched:
        fresh = self.fresh(folder)
        remove_tree(fresh)
        try:
            # others may pass through, but only by names that they know: the box's user is not ours
            fresh.mkdir(mode=0o711)
            places = fill_places(spec, fresh, folder.path)
            for name, path in places.items():
                give(fresh / name.value if path.parent == folder.path else path, user)
        except (OSError, BoxRefused) as error:
            remove_tree(fresh)
            raise BoxRefused(f"the box {folder.path.name} cannot be made: {error}") from None
        told = Launched(
            key=spec.key,
            run=spec.run,
            role=spec.role,
            boot=uuid.uuid4().hex,
            started=datetime.now(UTC),
            places=places,
            port=(spec.own.port if spec.own else BOX_PORT) if spec.port else None,
            tree=image.workdir if spec.image else None,
            output_bytes=spec.limits.output_bytes,
            state=place(MountName.STATE, spec.own.state if spec.own else None),
        )
        (fresh / "box.json").write_text(told.model_dump_json())
        fresh.rename(folder.path)
        return told

    def _config(self, spec: BoxSpec, folder: Folder, told: Launched, image: ImageFacts, user: str, slot: str) -> Config:
        words = docker_config.words(told.tree, told.port, told.state)
        given = {name: fill(value, words) for name, value in spec.env.items()}
        env = docker_config.environment(image, given, spec.own)
        argv, workdir = docker_config.started(spec, image)
        labels = {
            HOME: self._tag,
            KEY: spec.key,
            RUN: spec.run,
            ROLE: spec.role.value,
            SLOT: slot,
            BOX: folder.path.name,
            BOOT: told.boot,
        }
        binds = [
            f"{path}:{place(name, told.state)}:{'ro' if name is MountName.IN else 'rw'}"
            for name, path in told.places.items()
        ]
        if image.tree is not None:
            binds.append(f"{image.tree}:{docker_config.TREE}:ro")
        return docker_config.box_config(
            spec, image, slot, user, binds, labels, fill_all(argv, words), env, fill(workdir, words)
        )

    def _watch(self, slot: str, spec: BoxSpec, folder: Folder, told: Launched) -> None:
        limits = spec.limits
        mounted = (path for path in told.places.values() if path.parent != folder.path)
        order = {
            "box": folder.path.name,
            "seconds": limits.seconds + BEFORE_START,
            "pids": limits.pids,
            "disk": limits.disk_bytes,
            "base": sum(size(str(path)) for path in mounted),
            "places": [place(name, told.state) for name in MountName],
            "port": told.port or BOX_PORT,
        }
        try:
            self._slots.order(slot, do="watch", **order)
        except SlotGone as error:
            raise BoxRefused(f"the box {folder.path.name} cannot be watched: {error}") from None
