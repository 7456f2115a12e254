"""The contract of boxes on a real Docker Engine."""

from collections.abc import Iterator

import pytest

from moss import config
from moss.adapters.boxes.docker import DockerBoxes
from moss.domain.ids import Digest
from moss.ports import Boxes, Image
from moss.testing.conformance.boxes import BoxesContract
from tests.docker_home import DockerHome


@pytest.fixture(scope="module")
def docker_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHome]:
    home = DockerHome(tmp_path_factory.mktemp("home"))
    yield home
    home.clean()


@pytest.fixture(scope="module")
def built(docker_home: DockerHome, tmp_path_factory: pytest.TempPathFactory) -> Image:
    tree = tmp_path_factory.mktemp("tree")
    (tree / "which").write_text("this one")
    (tree / "Dockerfile").write_text("FROM python:3.11-slim\nWORKDIR /srv/agent\nCOPY which .\n")
    return Image(Digest(docker_home.build(tree)), "clerk:1", None)


@pytest.mark.needs("docker")
@pytest.mark.slow
@pytest.mark.xdist_group("docker")
class TestDockerBoxes(BoxesContract):
    @pytest.fixture
    def boxes(self, docker_home: DockerHome) -> Iterator[Boxes]:
        boxes = self.reopen(docker_home)
        yield boxes
        for box in boxes.list():
            boxes.remove(box.key)

    @pytest.fixture
    def reopened(self, docker_home: DockerHome) -> Boxes:
        return self.reopen(docker_home)

    def reopen(self, home: DockerHome) -> DockerBoxes:
        return DockerBoxes(home.path, config.DockerBoxes(), 8790)

    @pytest.fixture
    def image(self, built: Image) -> Image:
        return built
