"""Docker 20.10, as Debian has it: all that is promised of boxes and images holds on the oldest engine too.

The tests themselves are those of the current engine, run where this one is the machine's.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.own_engine import OwnEngine, dockerd

pytestmark = [
    pytest.mark.needs("docker", "docker-20.10"),
    pytest.mark.slow,
    pytest.mark.xdist_group("docker"),
]
ROOT = Path(__file__).parents[2]
WHAT = (
    "tests/contracts/test_boxes_docker.py",
    "tests/contracts/test_builders_docker.py",
    "tests/adapters/boxes",
    "tests/adapters/builders",
    "tests/escape",
    "tests/e2e/test_clerk_in_docker.py",
)


@pytest.fixture
def engine() -> Iterator[OwnEngine]:
    program = dockerd("MOSS_TEST_DOCKERD_20_10", "20.10")
    assert isinstance(program, Path), program
    engine = OwnEngine(program)
    try:
        engine.start()
        engine.take()
        yield engine
    finally:
        engine.close()


def test_boxes_images_and_escapes_hold_on_it_too(engine: OwnEngine) -> None:
    assert engine.docker("version", "--format", "{{.Server.Version}}").stdout.startswith("20.10.")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "ocker or escape", *WHAT]
    done = engine.inside(argv, ROOT, 600)
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout.splitlines()[-1]
    assert "docker" not in "".join(line for line in done.stdout.splitlines() if line.startswith("SKIPPED"))
