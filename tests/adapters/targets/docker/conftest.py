"""A home beside an agent in a container, on a real engine."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from moss.testing.live_docker import LiveDocker, sweep
from tests.adapters.targets.docker.beside_agent import REPOSITORY, Beside


@pytest.fixture(scope="session")
def moss_image() -> None:
    """MOSS's own image, of the source as it is."""
    subprocess.run([str(REPOSITORY / "scripts" / "images")], check=True, capture_output=True)


@pytest.fixture
def beside(tmp_path: Path, moss_image: None) -> Iterator[Beside]:
    made = Beside(tmp_path)
    try:
        yield made
    finally:
        made.clean()


@pytest.fixture(scope="session")
def tiny_images(moss_image: None) -> Iterator[None]:
    """None of the tiny agent's images is left."""
    yield
    sweep()


@pytest.fixture
def tiny(tmp_path: Path, tiny_images: None) -> Iterator[LiveDocker]:
    """The tiny agent as a container that nobody has started yet."""
    made = LiveDocker(tmp_path)
    try:
        yield made
    finally:
        made.close()
