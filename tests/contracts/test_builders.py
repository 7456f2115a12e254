"""The contract of image builders, for each adapter that there is."""

from functools import partial
from pathlib import Path

import pytest

from moss import config
from moss.adapters.boxes.process import ProcessBoxes
from moss.adapters.builders.checkout import CheckoutBuilder, image_tree
from moss.errors import BuildFailed, MossError
from moss.ports import ImageBuilder
from moss.testing.builders import FakeBuilder
from moss.testing.conformance.builder import BuilderContract


class TestCheckoutBuilder(BuilderContract):
    @pytest.fixture
    def builder(self, tmp_path: Path) -> ImageBuilder:
        home = tmp_path / "home"
        settings = config.CheckoutBuild(smoke=("python3", "-c", SMOKE))
        boxes = ProcessBoxes(home, config.ProcessBoxes(), partial(image_tree, home))
        return CheckoutBuilder(home, settings, boxes)


SMOKE = "import os, sys; sys.exit('the tree is broken' if os.path.exists('broken') else 0)"


def smoke(tree: Path) -> MossError | None:
    return BuildFailed("the tree is broken") if (tree / "broken").exists() else None


class TestFakeBuilder(BuilderContract):
    @pytest.fixture
    def builder(self, tmp_path: Path) -> ImageBuilder:
        return FakeBuilder(tmp_path / "images", smoke)
