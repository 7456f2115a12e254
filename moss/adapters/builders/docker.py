"""Owns images of a Docker Engine: built by BuildKit from the substrate's Dockerfile, named by their image id.

Never runs a candidate's command on the host: RUN steps run in the engine's build containers without a network unless
it is declared, the smoke test in a build box. Invariants: an image counts once it is whole and smoked, which is when it
gets its tag `moss-<home>/...`; no image that a container uses is ever removed.
"""

import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from moss.adapters.builders.docker_command import Build
from moss.adapters.builders.steps import run_step, tail
from moss.adapters.builders.tree_digest import drop_caches, tree_digest
from moss.config import DockerBuild
from moss.dockerd import Conflict, Engine, Gone, home_tag, labels_filter
from moss.dockerd.found import BASE, COMMIT, NAME, SOURCE, Found, reference, repository
from moss.dockerd.labels import HOME, KEY, RUN
from moss.domain.frozen import sha256
from moss.domain.ids import CommitId, Digest, Key, RunId
from moss.domain.launch import fill_all
from moss.errors import BuildBroken, BuildFailed, NoSpace
from moss.files import remove_tree
from moss.ports import Boxes, BoxRole, BoxSpec, Image, Limits


class DockerBuilder:
    """Images of one home on one engine. `secrets` gives the values for `--secret` when a build needs them."""

    def __init__(
        self,
        home: Path,
        settings: DockerBuild,
        boxes: Boxes,
        secrets: Callable[[], Mapping[str, str]] = dict,
        logins: Path | None = None,
        free_bytes: int = 0,
    ) -> None:
        self._home, self._settings, self._boxes, self._secrets = home.resolve(), settings, boxes, secrets
        self._logins, self._free_bytes = logins, free_bytes
        self._folder = self._home / "images"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._engine = Engine(settings.engine, BuildBroken)
        self._tag = home_tag(self._home)

    def build(self, tree: Path, commit: CommitId, name: str, key: Key, log: Path) -> Image:
        """Raises: BuildFailed (the tree's fault), BuildBroken (ours), NoSpace."""
        self._space()
        log.parent.mkdir(parents=True, exist_ok=True)
        drop_caches(tree)
        source = self._source(tree)
        with self._locked(key) as staging:
            for found in self._ours():
                if (found.labels[SOURCE], found.labels[COMMIT], found.labels[NAME]) == (source, commit, name):
                    log.write_text(f"# {name} of {commit}: built before, {found.id}\n")
                    return found.image()
            if not (tree / self._settings.dockerfile).is_file():
                raise BuildBroken(f"there is no {self._settings.dockerfile} in {commit[:12]} (mend: write one, or "
                                  "name it: build.dockerfile)")  # fmt: skip
            labels = {NAME: name, COMMIT: commit, SOURCE: source, KEY: key, RUN: key.partition("/")[0]}
            labels |= {HOME: self._tag, BASE: " ".join(self._bases(tree))}
            log.write_bytes(f"# {name} of {commit}: {source}\n".encode())
            return self._build(tree, labels, log, staging)

    def find(self, digest: Digest) -> Image | None:
        found = self._look(digest)
        return found.image() if found is not None and found.whole(self._tag) else None

    def remove(self, digest: Digest) -> None:
        """Absent is silent; what a container (also a stopped one) uses is kept."""
        found = self._look(digest)
        if found is None or self._in_use(found.id):
            return
        with contextlib.suppress(Gone, Conflict), self._engine.saying(f"the image {digest} cannot be removed"):
            for tag in found.tags:
                if tag.startswith(f"{repository(self._tag)}/"):
                    self._engine.api.remove_image(tag, noprune=False)
            if (left := self._look(digest)) is not None and not left.tags:
                self._engine.api.remove_image(digest)

    def list(self) -> Sequence[Image]:
        return [found.image() for found in self._ours()]

    # one build

    def _build(self, tree: Path, labels: dict[str, str], log: Path, staging: Path) -> Image:
        self._sweep()
        remove_tree(staging)
        staging.mkdir(mode=0o700)
        try:
            build = Build(
                settings=self._settings,
                engine=self._engine.address,
                tree=tree.resolve(),
                iid=staging / "iid",
                labels=labels,
                secrets=self._put_secrets(staging),
                client=self._logins or staging,
                disk=self._disk(),
            )
            try:
                made = build.run(log)
            except BuildFailed as error:
                raise BuildFailed(f"{error}\n{tail(log)}") from None
            found = self._look(Digest(made))
            if found is None:
                raise BuildBroken(f"the engine built {made} and does not know it")
            self._smoke(found.image(), Key(labels[KEY]), log)
            self._keep(found)
            return found.image()
        except OSError as error:
            raise BuildBroken(f"{labels[NAME]} was not built: {error}") from None
        finally:
            remove_tree(staging)

    def _smoke(self, image: Image, key: Key, log: Path) -> None:
        if not self._settings.smoke:
            return
        spec = BoxSpec(
            key=Key(f"{key}/smoke"),
            run=RunId(key.partition("/")[0]),
            role=BoxRole.BUILD,
            argv=fill_all(self._settings.smoke, {}),
            image=image,
            workdir="{image}",
            limits=Limits(seconds=self._settings.seconds),
        )
        run_step(self._boxes, spec, "smoke", log)

    def _keep(self, found: Found) -> None:
        """The tag makes it an image, and keeps it from `docker image prune`."""
        agent, _, tag = found.labels[NAME].partition(":")
        name = f"{repository(self._tag)}/{reference(agent)}"
        with self._engine.saying("the image cannot be tagged"):
            self._engine.api.tag(found.id, name, f"{reference(tag or 'built')}-{found.id[7:15]}")

    def _put_secrets(self, staging: Path) -> dict[str, Path]:
        """Files that only this user can read, gone with the build."""
        paths = {}
        for name, value in (self._secrets() if self._settings.secrets else {}).items():
            paths[name] = staging / f"secret-{name}"
            paths[name].touch(mode=0o600)
            paths[name].write_text(value)
        return paths

    # what is there

    def _source(self, tree: Path) -> str:
        """What the image depends on: the tree, and the settings that a build is told."""
        told = self._settings.model_dump_json(exclude={"seconds", "disk_bytes", "engine", "logins"})
        return sha256(f"{tree_digest(tree)} {told}".encode())

    def _bases(self, tree: Path) -> Iterator[str]:
        """The ids of the images that FROM names, as far as the engine has them."""
        for line in (tree / self._settings.dockerfile).read_text(errors="replace").splitlines():
            words = [word for word in line.split() if not word.startswith("--")]
            if len(words) > 1 and words[0].upper() == "FROM" and (found := self._look(words[1])) is not None:
                yield f"{words[1]}@{found.id}"

    def _ours(self) -> Sequence[Found]:
        with self._engine.saying("images cannot be listed"):
            rows = self._engine.api.images(filters=labels_filter({HOME: self._tag}))
        found = [Found.of(row["Id"], row.get("RepoTags"), row.get("RepoDigests"), row.get("Labels")) for row in rows]
        return sorted((one for one in found if one.whole(self._tag)), key=lambda one: one.id)

    def _look(self, name: str) -> Found | None:
        if (row := self._engine.image(name)) is None:
            return None
        labels = (row["Config"] or {}).get("Labels")
        return Found.of(row["Id"], row.get("RepoTags"), row.get("RepoDigests"), labels)

    def _in_use(self, digest: str) -> bool:
        with self._engine.saying("containers cannot be listed"):
            return bool(self._engine.api.containers(all=True, filters={"ancestor": digest}))

    def _sweep(self) -> None:
        """What builds left that were killed or failed their smoke test: images of ours without a tag."""
        with self._engine.saying("images cannot be listed"):
            rows = self._engine.api.images(filters={**labels_filter({HOME: self._tag}), "dangling": True})
        for row in rows:
            if not self._in_use(row["Id"]):
                with contextlib.suppress(Gone, Conflict), self._engine.saying("an image cannot be removed"):
                    self._engine.api.remove_image(row["Id"])

    def _disk(self) -> Path | None:
        with self._engine.saying("the engine cannot be asked"):
            root = Path(self._engine.api.info()["DockerRootDir"])
        return root if root.exists() else None

    def _space(self) -> None:
        free = shutil.disk_usage(self._home).free
        if free < self._free_bytes:
            raise NoSpace(f"{free} bytes are free, a build needs {self._free_bytes} (retention.free_bytes)")

    @contextlib.contextmanager
    def _locked(self, key: Key) -> Iterator[Path]:
        """One build of this home at a time, between controllers too; gives a folder for its files."""
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        with open(self._folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._folder / f".build-{name}"
