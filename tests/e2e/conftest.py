"""What the end-to-end tests share: one clerk under MOSS for each file, and that nothing of it is left."""

from collections.abc import Iterator

import pytest

from .scene import Scene, left_of, wait_until


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(tmp_path_factory.mktemp("clerk") / "shop")
    yield scene
    scene.close()
    wait_until(lambda: not left_of(scene.root), 10)


@pytest.fixture
def scene(stage: Scene) -> Scene:
    """The clerk of this file, with the base serving and the settings as they stand."""
    stage.at_rest()
    return stage
