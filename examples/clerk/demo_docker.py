"""Owns `make demo-docker`: the story of `make demo` in containers: boxes, images, and the clerk itself.

    python -m examples.clerk.demo_docker [--folder .demo-docker] [--down]

Somebody runs the clerk as a container on a volume; MOSS adopts it, evolves it, swaps it in place. `--down` takes away
all of it: containers, images, volume, network. Killed at any moment and run again, it goes on where it was.
"""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from examples.clerk import demo
from examples.clerk.workshop import Workshop, lay_out
from moss.adapters.targets.docker.running import look
from moss.dockerd import Engine, Gone, home_tag
from moss.errors import MossError, UserError
from moss.ports import Image

FOLDER = ".demo-docker"
SHOP = "moss.dev/demo"
"""label of the clerk's container: the folder of its demo"""
HEAD = """MOSS demo in containers · everything below is real except the model and the coding agent, which are scripted
            boxes are containers without a network, rights or a writable root; the clerk is a container on a volume
            the watch after a swap is 3 s here (10 s by default), the soak is off (24 h by default)
"""
NEEDS = "docs/docker.md says what it needs; make demo needs no engine"


class DockerDemo(demo.Demo):
    """One telling in a folder. The container is called as the folder is: `clerk-demo` for `.demo-docker`."""

    head, command = HEAD, "make demo-docker"

    def _lay_out(self, folder: Path, approvers: str) -> Workshop:
        self.engine = Engine(None, UserError)
        name = folder.name.strip(".").removesuffix("-docker")
        self.name = f"clerk-{name}"
        return lay_out(folder, approvers=approvers, container=self.name)

    @staticmethod
    def demand() -> None:
        """Raises: UserError when there is no engine, no client, or not the images that all of it stands on."""
        from moss import __version__

        _docker("--version")
        engine = Engine(None, UserError)
        try:
            for name in ("python:3.11-slim", f"moss:{__version__}"):
                with engine.saying("the engine cannot be asked"):
                    engine.api.inspect_image(name)
        except Gone:
            raise UserError(f"the image {name} is not on the engine", mend="scripts/images") from None
        except UserError as error:
            raise UserError(f"{error}", mend=NEEDS) from None

    @property
    def state(self) -> Path:
        return self.wired.state

    @property
    def volume(self) -> str:
        return f"{self.name}-state"

    # ------------------------------------------------------------------ before MOSS, and the move

    def _adopted(self) -> None:
        """Somebody runs the clerk; MOSS takes it over, in one short stop."""
        adoption = self.wired.docker_target.adoption
        known = adoption.known()
        if known is not None and not known.done:
            with suppress(MossError):  # killed before the clerk was touched: the move is begun anew
                adoption.go_on(known)
            known = adoption.known()
        if known is None:
            image = self.wired.image_of(self.wired.source.resolve("HEAD"))
            self._run_by_hand(image)
            adoption.adopt(look(self.engine, self.name), image)
        self.wired.target.install(self.wired.target.current().image)

    def _run_by_hand(self, image: Image) -> None:
        """`docker run`, as its owner would have. Silent where it runs."""
        if not _docker("container", "ls", "-aq", "--filter", f"name=^{self.name}$"):
            where = ("-v", f"{self.volume}:/state", "-p", f"127.0.0.1:{self.shop.port}:8080")
            more = ("--restart", "unless-stopped", "--label", f"{SHOP}={self.shop.root}")
            _docker("container", "create", "--name", self.name, *where, *more, image.digest)
        _docker("container", "start", self.name)

    # ------------------------------------------------------------------ the end

    def down(self) -> None:
        """Nothing of it is left on the engine."""
        with suppress(MossError):
            self.wired.target.shut_down()
        self.wired.stop_gateway()
        tag = home_tag(self.wired.home)
        for label in (f"moss.dev/home={tag}", f"{SHOP}={self.shop.root}"):
            _each("container", "rm", "-f", "-v", of=("container", "ls", "-aq", "--filter", f"label={label}"))
        _each("network", "rm", of=("network", "ls", "-q", "--filter", f"label=moss.dev/home={tag}"))
        _each("volume", "rm", of=("volume", "ls", "-q", "--filter", f"name=^{self.volume}$"))
        _each("image", "rm", "-f", of=("image", "ls", "-q", "--no-trunc", "--filter", f"label=moss.dev/home={tag}"))


def _each(*words: str, of: tuple[str, ...]) -> None:
    """One call for all that `of` lists; one that somebody else removed meanwhile is gone as well."""
    if found := sorted(set(_docker(*of).split())):
        with suppress(UserError):
            _docker(*words, *found)


def _docker(*words: str) -> str:
    """What the client says. Raises: UserError."""
    try:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError("there is no `docker` client on this machine", mend=NEEDS) from None
    if done.returncode:
        raise UserError(f"docker {' '.join(words[:2])}: {' '.join(done.stderr.split())[:300]}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(demo.told(DockerDemo, FOLDER))
