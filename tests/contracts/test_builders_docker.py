"""The contract of image builders on a real Docker Engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from moss import config
from moss.adapters.boxes.docker import DockerBoxes
from moss.adapters.builders.docker import DockerBuilder
from moss.ports import ImageBuilder
from moss.testing.conformance.builder import BuilderContract
from tests.docker_home import DockerHome

SMOKE = "import os, sys; sys.exit('the tree is broken' if os.path.exists('broken') else 0)"
DOCKERFILE = "FROM python:3.11-slim\nWORKDIR /srv/agent\nCOPY . .\n"


@pytest.fixture(scope="module")
def docker_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHome]:
    home = DockerHome(tmp_path_factory.mktemp("home"))
    yield home
    home.clean()


@pytest.mark.needs("docker")
@pytest.mark.slow
@pytest.mark.xdist_group("docker")
class TestDockerBuilder(BuilderContract):
    @pytest.fixture
    def builder(self, docker_home: DockerHome) -> Iterator[ImageBuilder]:
        boxes = DockerBoxes(docker_home.path, config.DockerBoxes(), 8790)
        builder = DockerBuilder(docker_home.path, config.DockerBuild(smoke=("python3", "-c", SMOKE)), boxes)
        yield builder
        assert boxes.list() == []
        for image in builder.list():
            builder.remove(image.digest)

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        tree = tmp_path / "tree"
        (tree / "clerk").mkdir(parents=True)
        (tree / "clerk" / "tools.py").write_text("retries = 3\n")
        (tree / "run").write_text("#!/bin/sh\n")
        (tree / "run").chmod(0o755)
        (tree / "link").symlink_to("clerk/tools.py")
        (tree / "Dockerfile").write_text(DOCKERFILE)
        return tree
