"""What the tests of container boxes share: a home on the engine for each file, and boxes that are gone afterwards."""

from collections.abc import Iterator

import pytest

from moss import config
from moss.adapters.boxes.docker import DockerBoxes
from tests.docker_home import DockerHome


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHome]:
    home = DockerHome(tmp_path_factory.mktemp("home"))
    yield home
    home.clean()


@pytest.fixture
def boxes(home: DockerHome) -> Iterator[DockerBoxes]:
    boxes = DockerBoxes(home.path, config.DockerBoxes(), 8790)
    yield boxes
    for box in boxes.list():
        boxes.remove(box.key)
