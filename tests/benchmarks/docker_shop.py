"""Owns a clerk that serves in a container under MOSS, for benchmarks of the swap. Of it nothing is left on the engine.

Somebody ran it by `docker run` on a volume, with a published port; MOSS took it over. By hand it is stopped and started
by `docker stop` and `docker start` of that very container.
"""

import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from examples.clerk.workshop import Workshop
from moss.adapters.targets.docker.running import look
from moss.dockerd import Gone, home_tag
from moss.errors import MossError
from moss.testing.live_docker import docker
from moss.wiring import Wiring
from tests.benchmarks.clients import ByHand, asking, boot_at
from tests.benchmarks.shop import Shop, laid_out, until_ready

SETTINGS = (
    "watch_seconds = 3 -> watch_seconds = 1\npreflight = false",
    # The hold's deadline is longer than the slowest bad candidate takes: start_seconds, then the way back.
    "start_seconds = 20 -> start_seconds = 5",
    "grace_seconds = 10 -> grace_seconds = 3",
)
INSIDE = 8080


@dataclass(frozen=True, slots=True)
class DockerShop(Shop):
    """A clerk that serves as a container of that name."""

    name: str

    @property
    def state(self) -> Path:
        return self.wired.state

    @property
    def died(self) -> Path:
        return self.state / "died"

    @property
    def died_inside(self) -> str:
        return "/state/died"

    def boot(self) -> str | None:
        hosts = [str(one["IPAddress"]) for one in self._networks().values() if one.get("IPAddress")]
        return boot_at(hosts[0], INSIDE) if hosts else None

    def by_hand(self) -> ByHand:
        with asking(self.boot) as client:
            old = client.until_answered()
            client.until(lambda: len(client.answers) > 10)
            docker("stop", self.name)
            at = time.time()
            docker("start", self.name)
            new = client.until_answered(but=old)
            return ByHand(client.gap(old, new), client.first(new) - at)

    def _networks(self) -> dict[str, dict[str, object]]:
        """Where it is on; nowhere while there is no container of the name."""
        engine = self.wired.docker_target.engine
        try:
            with engine.saying("the container cannot be looked at"):
                found: dict[str, dict[str, object]] = engine.api.inspect_container(self.name)["NetworkSettings"][
                    "Networks"
                ]
        except Gone:
            return {}
        return found


@contextmanager
def docker_shop() -> Iterator[Shop]:
    """A clerk of its own that is ready."""
    folder, name = Path(tempfile.mkdtemp(prefix="moss-bench-")), f"bench-{uuid.uuid4().hex[:8]}"
    place, wired, key = laid_out(folder, SETTINGS, name)
    try:
        wired.start_gateway()
        _adopted(place, wired, name)
        until_ready(wired)
        yield DockerShop(place, wired, key, name)
    finally:
        _down(wired, name)
        wired.store.close()  # type: ignore[attr-defined]
        shutil.rmtree(folder, ignore_errors=True)


def _adopted(place: Workshop, wired: Wiring, name: str) -> None:
    """Somebody runs it, MOSS takes it over."""
    image = wired.image_of(wired.source.resolve("HEAD"))
    where = ("-v", f"{name}:/state", "-p", f"127.0.0.1:{place.port}:{INSIDE}")
    docker("run", "-d", "--name", name, *where, "--restart", "unless-stopped", image.digest)
    target = wired.docker_target
    target.adoption.adopt(look(target.engine, name), image)
    target.install(target.current().image)


def _down(wired: Wiring, name: str) -> None:
    with suppress(MossError):
        wired.target.shut_down()
    wired.stop_gateway()
    ours = f"label=moss.dev/home={home_tag(wired.home)}"
    containers = {
        *docker("ps", "-aq", "--filter", ours).split(),
        *docker("ps", "-aq", "--filter", f"name={name}").split(),
    }
    for kind, found in (
        ("container", containers),
        ("network", docker("network", "ls", "-q", "--filter", ours).split()),
        ("volume", docker("volume", "ls", "-q", "--filter", f"name=^{name}$").split()),
        ("image", set(docker("image", "ls", "-q", "--no-trunc", "--filter", ours).split())),
    ):
        if found:
            docker(kind, "rm", "-f", *found)
