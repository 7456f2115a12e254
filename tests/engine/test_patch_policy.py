"""What git says of an agent's work tree and what the policy reads in it are the same files, whatever their names."""

import os
import subprocess
from pathlib import Path

import pytest

from moss.adapters.source.git import GitSource
from moss.domain.patch import Patch, read_text
from moss.domain.policy import Rule, SourcePolicy, check_patch


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    repo = tmp_path / "repo"
    (repo / "tests").mkdir(parents=True)
    (repo / "app.py").write_text("x = 1\n")
    (repo / "gone.py").write_text("y = 1\n")
    (repo / "tests" / "test_app.py").write_text("assert True\n")
    for words in (
        ("init", "-q"),
        ("add", "-A"),
        ("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "base"),
    ):
        subprocess.run(["git", *words], cwd=repo, check=True)
    return repo


class Work:
    """A work tree as an agent got it; `patch` is its difference, read by the real adapter."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.source = GitSource(folder / "home", repository, "app")
        self.base = self.source.resolve("HEAD")
        self.tree = folder / "tree"
        self.source.export(self.base, self.tree)

    @property
    def patch(self) -> Patch:
        return self.source.diff(self.base, self.tree)

    @property
    def rules(self) -> set[Rule]:
        return {breach.rule for breach in check_patch(self.patch, SourcePolicy())}


@pytest.fixture
def work(tmp_path: Path, repository: Path) -> Work:
    return Work(tmp_path, repository)


@pytest.mark.parametrize(
    "name", ["new.py", "with blank.py", "ünï.py", "日本/x.py", "a'b.py", "deep/er/x.py", "-dash.py"]
)
def test_a_plain_name_is_read_and_passes(work: Work, name: str) -> None:
    path = work.tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("z = 1\n")
    assert {text.path for text in read_text(work.patch.text)} == {name}
    assert work.rules == set()


@pytest.mark.parametrize(
    "name", [b"a\tb.py", b"a\nb.py", b'a"b.py', b"a\\b.py", b"a\x1bb.py", b"a\xffb.py", b"a\x7f.py"]
)
def test_an_odd_name_never_passes(work: Work, name: bytes) -> None:
    with open(os.path.join(os.fsencode(work.tree), name), "w") as file:
        file.write("z = 1\n")
    assert work.rules & {Rule.PATH, Rule.UNREADABLE}


def test_edits_deletions_and_empty_files_are_read(work: Work) -> None:
    (work.tree / "app.py").write_text("x = 2\n")
    (work.tree / "gone.py").unlink()
    (work.tree / "empty file.py").touch()
    texts = {text.path: text for text in read_text(work.patch.text)}
    assert set(texts) == {"app.py", "gone.py", "empty file.py"}
    assert (texts["app.py"].added, texts["app.py"].removed) == (("x = 2",), ("x = 1",))
    assert work.rules == set()


def test_links_modes_binaries_and_tests_are_caught(work: Work) -> None:
    (work.tree / "app.py").chmod(0o755)
    (work.tree / "gone.py").unlink()
    (work.tree / "gone.py").symlink_to("/etc/passwd")
    (work.tree / "picture").write_bytes(bytes(range(256)))
    (work.tree / "tests" / "test_app.py").write_text("assert 1\n")
    assert work.rules == {Rule.MODE, Rule.BINARY, Rule.TEST}


def test_a_file_too_large_for_a_diff_is_caught(work: Work) -> None:
    (work.tree / "large.py").write_text("x = 1\n" * (1 << 19))
    assert work.rules & {Rule.BINARY, Rule.SIZE}
