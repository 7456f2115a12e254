"""The contract of sources: a whole repository, and a folder of a larger one."""

from pathlib import Path

import pytest

from moss.adapters.source.git import GitSource
from moss.ports import Source
from moss.testing.conformance.source import SourceContract
from moss.testing.repository import Repository


class TestGitSource(SourceContract):
    @pytest.fixture
    def source(self, repository: Repository, tmp_path: Path) -> Source:
        return GitSource(tmp_path / "home", repository.path, "clerk")


class TestGitSourceInAFolder(SourceContract):
    folder = "examples/the clerk/"

    @pytest.fixture
    def source(self, repository: Repository, tmp_path: Path) -> Source:
        repository.write("README", "the whole\n")
        repository.write(self.folder + ".keep", "")
        (repository.path / self.folder / ".keep").unlink()
        return GitSource(tmp_path / "home", repository.path / self.folder, "clerk")
