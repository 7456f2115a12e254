"""Owns the contract of `moss.ports.ImageBuilder` as tests. Subclass `BuilderContract` and give it `builder`.

Never looks inside an adapter. The builder under test smokes a tree so that it fails where the file `broken` is in it.
"""

import os
from pathlib import Path

import pytest

from moss.domain.frozen import sha256
from moss.domain.ids import CommitId, Digest, Key
from moss.errors import BuildFailed
from moss.ports import Image, ImageBuilder

COMMIT = CommitId("1" * 40)


class BuilderContract:
    @pytest.fixture
    def builder(self) -> ImageBuilder:
        raise NotImplementedError

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        """A small source tree."""
        tree = tmp_path / "tree"
        (tree / "clerk").mkdir(parents=True)
        (tree / "clerk" / "tools.py").write_text("retries = 3\n")
        (tree / "run").write_text("#!/bin/sh\n")
        (tree / "run").chmod(0o755)
        (tree / "link").symlink_to("clerk/tools.py")
        return tree

    @pytest.fixture
    def log(self, tmp_path: Path) -> Path:
        return tmp_path / "logs" / "build.log"

    def test_an_image_is_found_and_listed(self, builder: ImageBuilder, tree: Path, log: Path) -> None:
        image = builder.build(tree, COMMIT, "clerk:1111111", Key("ev-01/1/build"), log)
        assert (image.name, image.commit) == ("clerk:1111111", COMMIT)
        assert image.digest.startswith("sha256:")
        assert len(image.digest) == 71
        assert builder.find(image.digest) == image
        assert builder.list() == [image]
        assert log.stat().st_size > 0

    def test_the_same_build_twice_is_one_image(self, builder: ImageBuilder, tree: Path, log: Path) -> None:
        first = builder.build(tree, COMMIT, "clerk:1111111", Key("ev-01/1/build"), log)
        again = builder.build(tree, COMMIT, "clerk:1111111", Key("ev-01/1/build"), log)
        assert again == first
        assert builder.list() == [first]

    def test_the_same_tree_has_the_same_digest(self, builder: ImageBuilder, tree: Path, log: Path) -> None:
        first = builder.build(tree, COMMIT, "clerk:1", Key("ev-01/1/build"), log)
        os.utime(tree / "run", (1, 1))
        again = builder.build(tree, COMMIT, "clerk:1", Key("ev-02/1/build"), log)
        assert again.digest == first.digest
        assert len(builder.list()) == 1

    @pytest.mark.parametrize("change", ["content", "name", "mode", "link"])
    def test_another_tree_has_another_digest(self, builder: ImageBuilder, tree: Path, log: Path, change: str) -> None:
        first = builder.build(tree, COMMIT, "clerk:1", Key("ev-01/1/build"), log)
        match change:
            case "content":
                (tree / "clerk" / "tools.py").write_text("retries = 4\n")
            case "name":
                (tree / "run").rename(tree / "walk")
            case "mode":
                (tree / "run").chmod(0o644)
            case "link":
                (tree / "link").unlink()
                (tree / "link").symlink_to("run")
        second = builder.build(tree, COMMIT, "clerk:2", Key("ev-01/2/build"), log)
        assert second.digest != first.digest
        assert {image.digest for image in builder.list()} == {first.digest, second.digest}

    def test_what_happens_to_the_source_afterwards_does_not_matter(
        self, builder: ImageBuilder, tree: Path, log: Path
    ) -> None:
        image = builder.build(tree, COMMIT, "clerk:1", Key("ev-01/1/build"), log)
        (tree / "clerk" / "tools.py").write_text("retries = 0\n")
        assert builder.find(image.digest) == image

    def test_a_tree_that_does_not_build_says_why(self, builder: ImageBuilder, tree: Path, log: Path) -> None:
        (tree / "broken").write_text("")
        with pytest.raises(BuildFailed, match="broken"):
            builder.build(tree, COMMIT, "clerk:1", Key("ev-01/1/build"), log)
        assert builder.list() == []
        assert "broken" in log.read_text()
        (tree / "broken").unlink()
        assert isinstance(builder.build(tree, COMMIT, "clerk:1", Key("ev-01/1/build"), log), Image)

    def test_remove_forgets_and_absent_is_silent(self, builder: ImageBuilder, tree: Path, log: Path) -> None:
        image = builder.build(tree, COMMIT, "clerk:1", Key("ev-01/1/build"), log)
        builder.remove(image.digest)
        builder.remove(image.digest)
        builder.remove(Digest(sha256(b"never built")))
        assert builder.find(image.digest) is None
        assert builder.list() == []
        again = builder.build(tree, COMMIT, "clerk:1", Key("ev-01/1/build"), log)
        assert again == image

    def test_an_image_that_was_never_built_is_not_found(self, builder: ImageBuilder) -> None:
        assert builder.find(Digest(sha256(b"never built"))) is None
        assert builder.list() == []
