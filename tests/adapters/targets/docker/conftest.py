"""A home beside an agent in a container, on a real engine."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

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
