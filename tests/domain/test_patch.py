"""Reading a git patch: what git writes is read, what is no patch is refused, no content passes for a header."""

import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.domain.patch import FileText, read_text

HEAD = b"diff --git a/app.py b/app.py\nindex 1..2 100644\n--- a/app.py\n+++ b/app.py\n"


def git(folder: Path, *words: str) -> bytes:
    config = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "core.quotepath=off")
    return subprocess.run(["git", *config, *words], cwd=folder, capture_output=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text("one\ntwo\nthree\n")
    (tmp_path / "gone.py").write_text("-- a/x\n++ b/y\n")
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "base")
    return tmp_path


def diff(folder: Path) -> dict[str, FileText]:
    git(folder, "add", "-A")
    patch = git(folder, "diff", "--cached", "--no-renames", "--no-color", "--binary", "HEAD")
    return {file.path: file for file in read_text(patch)}


def test_what_git_writes_is_read(repository: Path) -> None:
    (repository / "a.py").write_text("one\n2\nthree\nfour")
    (repository / "gone.py").unlink()
    (repository / "with blank.py").write_text("+++ b/other.py\n@@ -1 +1 @@\ndiff --git a/q b/q\n")
    (repository / "empty file.py").touch()
    (repository / "run.sh").chmod(0o755)
    (repository / "picture").write_bytes(bytes(range(256)))
    (repository / "link").symlink_to("/etc/passwd")
    files = diff(repository)
    assert set(files) == {"a.py", "gone.py", "with blank.py", "empty file.py", "run.sh", "picture", "link"}
    assert (files["a.py"].added, files["a.py"].removed) == (("2", "four"), ("two",))
    assert files["a.py"].kept == ("one", "three")
    assert files["gone.py"].removed == ("-- a/x", "++ b/y")
    assert files["with blank.py"].added == ("+++ b/other.py", "@@ -1 +1 @@", "diff --git a/q b/q")
    assert files["run.sh"].modes == ("100644", "100755")
    assert files["picture"].binary
    assert files["link"].modes == (None, "120000")
    assert files["link"].added == ("/etc/passwd",)


def test_an_empty_patch_has_no_files() -> None:
    assert read_text(b"") == ()


@pytest.mark.parametrize(
    "text",
    [
        b"hello\n",
        HEAD + b"@@ nonsense @@\n+x\n",
        HEAD + b"@@ -1 +1,3 @@\n-x\n+y\n",
        HEAD + b"@@ -1 +1 @@\n-x\n+y\n+hidden\n",
        HEAD + b"@@ -1 +1 @@\n-x\n!y\n",
        HEAD + b"@@ -0,0 +1 @@\n-x\n+y\n",
        b"diff --git a/one b/two\nold mode 100644\nnew mode 100755\n",
    ],
)
def test_what_is_no_patch_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_text(text)


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\n\r"), max_size=30), min_size=1, max_size=8))
def test_any_added_lines_come_back(lines: list[str]) -> None:
    body = "".join(f"+{line}\n" for line in lines)
    (file,) = read_text(HEAD + f"@@ -0,0 +1,{len(lines)} @@\n{body}".encode("utf-8", "surrogatepass"))
    assert [line.encode("utf-8", "surrogateescape") for line in file.added] == [
        line.encode("utf-8", "surrogatepass") for line in lines
    ]


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: HEAD + b"@@ -1,2 +1,2 @@\n" + tail))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    with suppress(ValueError):
        assert all(file.path or file.old_path is None for file in read_text(text))
