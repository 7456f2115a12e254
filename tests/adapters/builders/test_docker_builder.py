"""Images of a real engine: no network, no secret kept, causes told apart, kills, and what a rollback needs."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from moss import config
from moss.adapters.boxes.docker import DockerBoxes
from moss.adapters.builders.docker import DockerBuilder
from moss.config import DockerBuild, Secret
from moss.domain.ids import CommitId, Key
from moss.errors import BuildBroken, BuildError, BuildFailed, NoSpace
from moss.ports import Image
from tests.docker_home import DockerHome
from tests.pace import at_most

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]

COMMIT = CommitId("1" * 40)
KEY = Key("ev-01/1/build")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHome]:
    home = DockerHome(tmp_path_factory.mktemp("home"))
    yield home
    home.clean()


class Workshop:
    """Builds of one tree."""

    def __init__(self, home: DockerHome, folder: Path) -> None:
        self.home, self.tree, self.log = home, folder / "tree", folder / "log"
        self.tree.mkdir()
        self.boxes = DockerBoxes(home.path, config.DockerBoxes(), 8790)

    def builder(self, values: dict[str, str] | None = None, free_bytes: int = 0, **more: object) -> DockerBuilder:
        settings = DockerBuild(**more)  # type: ignore[arg-type]
        return DockerBuilder(self.home.path, settings, self.boxes, lambda: values or {}, None, free_bytes)

    def build(self, *lines: str, builder: DockerBuilder | None = None, base: str = "python:3.11-slim") -> Image:
        # every test's images are its own, whatever is in the engine's cache
        words = (f"FROM {base}", f"LABEL test={uuid.uuid4().hex}", "WORKDIR /srv/agent", *lines)
        (self.tree / "Dockerfile").write_text("\n".join(words) + "\n")
        return (builder or self.builder()).build(self.tree, COMMIT, "clerk:1111111", KEY, self.log)

    def refusal(self, *lines: str, builder: DockerBuilder | None = None, base: str = "python:3.11-slim") -> BuildError:
        with pytest.raises(BuildError) as caught:
            self.build(*lines, builder=builder, base=base)
        return caught.value


@pytest.fixture
def shop(home: DockerHome, tmp_path: Path) -> Iterator[Workshop]:
    shop = Workshop(home, tmp_path)
    yield shop
    for image in shop.builder().list():
        shop.builder().remove(image.digest)


def test_an_image_says_where_it_comes_from(shop: Workshop) -> None:
    image = shop.build("COPY . .")
    found = shop.home.engine.api.inspect_image(image.digest)
    labels = found["Config"]["Labels"]
    base = shop.home.engine.api.inspect_image("python:3.11-slim")["Id"]
    assert labels["moss.dev/commit"] == COMMIT
    assert labels["moss.dev/key"] == KEY
    assert labels["moss.dev/run"] == "ev-01"
    assert labels["moss.dev/base"] == f"python:3.11-slim@{base}"
    assert found["RepoTags"] == [f"moss-{shop.home.tag}/clerk:1111111-{image.digest[7:15]}"]
    assert image.registry is None


CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).recv(9)"


def test_no_step_reaches_the_network_unless_it_is_declared(shop: Workshop) -> None:
    import socket
    import threading

    with socket.create_server(("0.0.0.0", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = str(server.getsockname()[1])
        step = "RUN " + json.dumps(["python3", "-c", CONNECT, "172.17.0.1", port])
        assert shop.build(step, builder=shop.builder(network=True)), "the probe itself does not work"
        assert "Network is unreachable" in str(shop.refusal(step))
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_secret_is_there_for_the_step_and_nowhere_after(shop: Workshop) -> None:
    secret = f"planted-{uuid.uuid4().hex}"
    builder = shop.builder({"token": secret}, secrets={"token": Secret(env="TOKEN")}, network=False)
    whole = f"test $(wc -c < /run/secrets/token) = {len(secret)}"
    step = f"RUN --mount=type=secret,id=token sha256sum /run/secrets/token > sum && {whole}"
    image = shop.build(step, builder=builder)
    said = json.dumps([shop.home.engine.api.inspect_image(image.digest), shop.home.engine.api.history(image.digest)])
    assert secret not in said
    assert secret not in shop.log.read_text()
    kept = subprocess.run(["docker", "save", image.digest], check=True, capture_output=True).stdout
    assert b"srv/agent/sum" in kept, "the probe itself does not work"
    assert secret.encode() not in kept
    assert [path.name for path in (shop.home.path / "images").iterdir()] == [".lock"]


def test_a_step_that_fails_gives_its_words_back(shop: Workshop) -> None:
    said = shop.refusal("RUN echo out of cheese >&2; exit 3")
    assert isinstance(said, BuildFailed)
    assert "out of cheese" in str(said)
    assert "exit code: 3" in str(said)


def test_what_a_step_prints_never_decides_the_cause(shop: Workshop) -> None:
    said = shop.refusal("RUN echo 'ERROR: no space left on device'; echo 'ERROR: pull access denied'; exit 1")
    assert isinstance(said, BuildFailed)


def test_a_build_that_loops_ends_at_its_time(shop: Workshop) -> None:
    began = time.monotonic()
    said = shop.refusal("RUN while :; do sleep 1; done", builder=shop.builder(seconds=2))
    assert isinstance(said, BuildFailed)
    assert "did not end within 2 s (build.seconds)" in str(said)
    assert time.monotonic() - began < at_most(40)
    assert shop.builder().list() == []


def test_a_build_that_fills_the_disk_ends_at_its_bound(shop: Workshop) -> None:
    fill = (
        "RUN while :; do dd if=/dev/zero of=/fill bs=1M count=64 oflag=append conv=notrunc status=none; sleep 0.1; done"
    )
    said = shop.refusal(fill, builder=shop.builder(disk_bytes=512 << 20, seconds=120))
    assert isinstance(said, BuildFailed)
    assert "build.disk_bytes" in str(said)


def test_a_base_that_is_not_there_is_named_and_nobodys_fault(shop: Workshop) -> None:
    said = shop.refusal(base="no-such-base:7")
    assert isinstance(said, BuildBroken)
    assert str(said) == (
        "the base image no-such-base:7 is not there (mend: docker pull no-such-base:7, or correct FROM)"
    )


def test_a_dockerfile_that_is_not_there_is_named(shop: Workshop) -> None:
    with pytest.raises(BuildBroken, match=r"there is no Agentfile in 111111111111 \(mend: .*build.dockerfile\)"):
        shop.build(builder=shop.builder(dockerfile="Agentfile"))


def test_no_engine_and_no_space_are_told_apart(shop: Workshop) -> None:
    with pytest.raises(BuildBroken, match="no Docker Engine answers at unix:///no/such"):
        shop.build(builder=shop.builder(engine="unix:///no/such"))
    with pytest.raises(NoSpace, match=r"retention\.free_bytes"):
        shop.build(builder=shop.builder(free_bytes=1 << 60))


def test_a_smoke_test_runs_in_a_box_of_the_image_and_a_failing_one_leaves_no_image(shop: Workshop) -> None:
    smoke = ("python3", "-c", "import os, sys; print(os.getcwd(), os.getuid() != 0); sys.exit(3)")
    said = shop.refusal(builder=shop.builder(smoke=smoke))
    assert isinstance(said, BuildFailed)
    assert "smoke ended with code 3" in str(said)
    assert "/srv/agent True" in shop.log.read_text()
    assert shop.builder().list() == []
    assert shop.build()
    ours = shop.home.engine.api.images(filters={"label": [f"moss.dev/home={shop.home.tag}"]}, quiet=True)
    assert len(ours) == 1, "the one before was swept"


def test_an_image_that_a_container_uses_is_kept(shop: Workshop) -> None:
    """Also a stopped one: that is what a rollback starts again."""
    image = shop.build()
    name = f"moss-test-{shop.home.tag}"
    subprocess.run(["docker", "create", "--name", name, image.digest, "true"], check=True, capture_output=True)
    try:
        shop.builder().remove(image.digest)
        assert shop.builder().find(image.digest) == image
    finally:
        subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)
    shop.builder().remove(image.digest)
    assert shop.builder().find(image.digest) is None


def test_images_of_others_are_never_listed_or_removed(shop: Workshop) -> None:
    base = shop.home.engine.api.inspect_image("python:3.11-slim")["Id"]
    assert shop.builder().find(base) is None
    assert base not in [image.digest for image in shop.builder().list()]
    shop.builder().remove(base)
    assert shop.home.engine.api.inspect_image("python:3.11-slim")["Id"] == base


BUILD = """
import sys
from pathlib import Path
from moss import config
from moss.adapters.boxes.docker import DockerBoxes
from moss.adapters.builders.docker import DockerBuilder
home, tree = Path(sys.argv[1]), Path(sys.argv[2])
builder = DockerBuilder(home, config.DockerBuild(), DockerBoxes(home, config.DockerBoxes(), 8790))
builder.build(tree, "1" * 40, "clerk:1111111", "ev-01/1/build", tree.parent / "killed.log")
"""


def test_a_build_whose_controller_is_killed_is_built_by_the_next(shop: Workshop) -> None:
    slow = (f"RUN sleep 3; : {uuid.uuid4().hex}", "COPY . .")
    (shop.tree / "Dockerfile").write_text("\n".join(("FROM python:3.11-slim", *slow)))
    argv = [sys.executable, "-c", BUILD, str(shop.home.path), str(shop.tree)]
    process = subprocess.Popen(argv)
    log, ends = shop.tree.parent / "killed.log", time.monotonic() + 60
    while not log.exists() or b"sleep 3" not in log.read_bytes():
        assert time.monotonic() < ends
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert shop.builder().list() == []
    image = shop.builder().build(shop.tree, COMMIT, "clerk:1111111", KEY, shop.log)
    assert shop.builder().list() == [image]
