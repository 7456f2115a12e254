"""Owns the contract of `moss.ports.Source` as tests. Subclass `SourceContract` and give it `source` and `repository`.

Never looks inside an adapter. The source under test is the folder `folder` of the repository.
"""

from pathlib import Path

import pytest

from moss.domain.ids import CommitId, Key
from moss.domain.patch import FileChange, Patch
from moss.errors import Refused, UserError
from moss.ports import Source
from moss.testing.repository import Repository

TOOLS = "def refund():\n    retry()\n    return 1\n"
KEY = Key("ev-01/1/implement/1")


class SourceContract:
    folder = ""
    """Where in the repository the source is: empty or `sub/folder/`."""

    @pytest.fixture
    def repository(self, tmp_path: Path) -> Repository:
        return Repository.new(tmp_path / "repository")

    @pytest.fixture
    def source(self, repository: Repository) -> Source:
        raise NotImplementedError

    @pytest.fixture
    def base(self, repository: Repository) -> CommitId:
        """A first commit: a module, a program, a link, an ignored name."""
        repository.write(self.folder + "tools.py", TOOLS)
        repository.write(self.folder + "run", "#!/bin/sh\n").chmod(0o755)
        repository.write(self.folder + "deep/er/x.txt", "x\n")
        repository.write(self.folder + ".gitignore", "*.log\ncache/\n")
        (repository.path / self.folder / "link").symlink_to("tools.py")
        return repository.commit()

    @pytest.fixture
    def tree(self, source: Source, base: CommitId, tmp_path: Path) -> Path:
        """The base, exported for an agent to work in."""
        source.export(base, tmp_path / "work" / "tree")
        return tmp_path / "work" / "tree"

    # resolve

    def test_a_branch_a_tag_and_an_abbreviation_are_found(
        self, source: Source, repository: Repository, base: CommitId
    ) -> None:
        repository.git("tag", "-a", "v1", "-m", "one")
        repository.git("branch", "feature/x")
        assert {source.resolve(ref) for ref in ("HEAD", "main", "v1", "feature/x", base, base[:8])} == {base}

    def test_what_the_user_commits_later_is_found(self, source: Source, repository: Repository, base: CommitId) -> None:
        assert source.resolve("HEAD") == base
        repository.write(self.folder + "tools.py", "")
        later = repository.commit("later")
        assert source.resolve("HEAD") == later
        assert source.resolve("main") == later

    @pytest.mark.parametrize(
        "ref", ["none", "", "-x", "--all", "main..main", "HEAD@{0}", "a b", "x\0y", "../main", "f" * 40, ":/a", "ü"]
    )
    def test_another_word_is_a_persons_mistake(self, source: Source, base: CommitId, ref: str) -> None:
        with pytest.raises(UserError):
            source.resolve(ref)

    # export

    def test_an_export_is_the_files_without_history(self, tree: Path) -> None:
        found = {str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir() or path.is_symlink()}
        assert found == {"tools.py", "run", "deep/er/x.txt", ".gitignore", "link"}
        assert (tree / "tools.py").read_text() == TOOLS
        assert (tree / "run").stat().st_mode & 0o777 == 0o755
        assert (tree / "tools.py").stat().st_mode & 0o777 == 0o644
        assert (tree / "link").readlink() == Path("tools.py")

    def test_an_export_replaces_what_was_there(self, source: Source, base: CommitId, tree: Path) -> None:
        (tree / "more").write_text("")
        (tree / "tools.py").unlink()
        (tree / "tools.py").mkdir()
        source.export(base, tree)
        assert (tree / "tools.py").read_text() == TOOLS
        assert not (tree / "more").exists()
        assert [path.name for path in tree.parent.iterdir()] == [tree.name]

    def test_an_unknown_commit_is_a_persons_mistake(self, source: Source, base: CommitId, tmp_path: Path) -> None:
        for wrong in ("f" * 40, base[:8], "-x", "HEAD"):
            with pytest.raises(UserError):
                source.export(CommitId(wrong), tmp_path / "x")
        assert not (tmp_path / "x").exists()

    # diff

    def test_an_untouched_tree_has_no_changes(self, source: Source, base: CommitId, tree: Path) -> None:
        assert source.diff(base, tree) == Patch(base, b"", ())

    def test_every_kind_of_change_is_seen(self, source: Source, base: CommitId, tree: Path) -> None:
        (tree / "tools.py").write_text(TOOLS.replace("retry()", "retry(key)\n    log()"))
        (tree / "new file.py").write_text("one\ntwo")
        (tree / "image.png").write_bytes(b"\x89PNG\0\0")
        (tree / "deep" / "er" / "x.txt").unlink()
        (tree / "link").unlink()
        (tree / "link").write_text("now a file\n")
        (tree / "run").chmod(0o644)
        patch = source.diff(base, tree)
        assert set(patch.files) == {
            FileChange("tools.py", "M", 2, 1, False, "100644"),
            FileChange("new file.py", "A", 2, 0, False, "100644"),
            FileChange("image.png", "A", 0, 0, True, "100644"),
            FileChange("deep/er/x.txt", "D", 0, 1, False, None),
            FileChange("link", "T", 1, 1, False, "100644"),
            FileChange("run", "M", 0, 0, False, "100644"),
        }
        assert patch.base == base
        assert b"+    retry(key)\n" in patch.text
        assert b"--- a/tools.py\n+++ b/tools.py\n" in patch.text

    def test_a_renamed_file_is_gone_and_new(self, source: Source, base: CommitId, tree: Path) -> None:
        (tree / "tools.py").rename(tree / "utensils.py")
        assert {(change.path, change.status) for change in source.diff(base, tree).files} == {
            ("tools.py", "D"),
            ("utensils.py", "A"),
        }

    def test_ignored_files_are_left_out(self, source: Source, base: CommitId, tree: Path) -> None:
        (tree / "x.log").write_text("")
        (tree / "deep" / "cache").mkdir()
        (tree / "deep" / "cache" / "y").write_text("")
        assert source.diff(base, tree).files == ()

    # commit, patch_between, changed_lines

    @pytest.fixture
    def patch(self, source: Source, base: CommitId, tree: Path) -> Patch:
        (tree / "tools.py").write_text(TOOLS.replace("retry()", "retry(key)\n    log()"))
        (tree / "image.png").write_bytes(b"\x89PNG\0\0")
        (tree / "link").unlink()
        return source.diff(base, tree)

    def test_a_patch_becomes_a_commit_with_the_same_tree(
        self, source: Source, patch: Patch, base: CommitId, tree: Path, tmp_path: Path
    ) -> None:
        made = source.commit(patch, "the fix", KEY)
        assert source.patch_between(base, made) == patch
        source.export(made, tmp_path / "again")
        assert source.diff(made, tree).files == ()
        assert (tmp_path / "again" / "image.png").read_bytes() == b"\x89PNG\0\0"
        assert source.resolve(made) == made

    def test_a_commit_is_made_once_by_key_and_the_same_by_patch(self, source: Source, patch: Patch) -> None:
        made = source.commit(patch, "the fix", KEY)
        assert source.commit(patch, "other words", KEY) == made
        assert source.commit(patch, "the fix", Key(f"{KEY}/again")) == made
        assert source.commit(patch, "other words", Key("ev-01/2/implement/1")) != made

    @pytest.mark.parametrize(
        "key", ["ev-01", "ev-01/1", "a..b", "x.lock", "a b", "a//b", "/a/", "~^:?*[\\", "@{", "ü", "-x"]
    )
    def test_any_key_names_a_commit(self, source: Source, patch: Patch, key: str) -> None:
        made = source.commit(patch, "the fix", Key(key))
        assert source.commit(patch, "other words", Key(key)) == made
        assert source.commit(patch, "other words", Key("other")) != made

    def test_iterations_build_on_each_other(self, source: Source, patch: Patch, tmp_path: Path) -> None:
        first = source.commit(patch, "one", KEY)
        source.export(first, tmp_path / "next")
        (tmp_path / "next" / "more.py").write_text("more\n")
        second = source.commit(source.diff(first, tmp_path / "next"), "two", Key("ev-01/2/implement/1"))
        assert [change.path for change in source.patch_between(first, second).files] == ["more.py"]
        assert len(source.patch_between(patch.base, second).files) == len(patch.files) + 1

    def test_a_patch_that_does_not_apply_is_refused(self, source: Source, patch: Patch, base: CommitId) -> None:
        other = source.commit(patch, "the fix", KEY)
        for text in (
            patch.text.replace(b"-    retry()", b"-    another()"),
            b"",
            b"rubbish",
            patch.text[: len(patch.text) // 3],
        ):
            with pytest.raises(Refused):
                source.commit(Patch(base, text, patch.files), "x", Key("ev-01/bad"))
        with pytest.raises(Refused):
            source.commit(Patch(other, patch.text, patch.files), "x", Key("ev-01/bad"))

    def test_changed_lines_are_those_of_the_candidate(self, source: Source, patch: Patch, base: CommitId) -> None:
        made = source.commit(patch, "the fix", KEY)
        assert dict(source.changed_lines(base, made)) == {"tools.py": [2, 3]}
        assert dict(source.changed_lines(base, base)) == {}

    # publish

    def test_a_branch_of_the_users_repository_is_moved(
        self, source: Source, repository: Repository, patch: Patch, base: CommitId
    ) -> None:
        before = repository.state()
        made = source.commit(patch, "the fix", KEY)
        source.publish("moss/live", made)
        assert repository.git("rev-parse", "moss/live") == made
        assert repository.git("rev-parse", "moss/live^") == base
        assert (
            repository.git("show", f"moss/live:{self.folder}tools.py")
            == TOOLS.replace("retry()", "retry(key)\n    log()").strip()
        )
        source.publish("moss/live", base)
        assert repository.git("rev-parse", "moss/live") == base
        assert repository.state() == before
        assert repository.git("rev-parse", "main") == base
        assert repository.git("fsck", "--no-dangling") == ""

    def test_the_branch_that_is_checked_out_is_refused(
        self, source: Source, repository: Repository, patch: Patch, base: CommitId, tmp_path: Path
    ) -> None:
        made = source.commit(patch, "the fix", KEY)
        repository.git("worktree", "add", "--quiet", "-b", "elsewhere", str(tmp_path / "elsewhere"))
        for branch in ("main", "elsewhere"):
            with pytest.raises(Refused, match="checked out"):
                source.publish(branch, made)
            assert repository.git("rev-parse", branch) == base

    @pytest.mark.parametrize("branch", ["", "-x", "a..b", "a b", "x\n", "refs/../x", "HEAD:main", "+main", "x.lock"])
    def test_what_is_no_branch_name_is_a_persons_mistake(self, source: Source, base: CommitId, branch: str) -> None:
        with pytest.raises(UserError):
            source.publish(branch, base)

    def test_the_users_checkout_is_never_touched(
        self, source: Source, repository: Repository, base: CommitId, tmp_path: Path
    ) -> None:
        repository.write(self.folder + "tools.py", "work in progress")
        repository.write(self.folder + "untracked", "")
        before = (repository.state(), sorted(str(path) for path in (repository.path / ".git").rglob("*")))
        source.export(source.resolve("HEAD"), tmp_path / "tree")
        (tmp_path / "tree" / "tools.py").write_text("fixed")
        source.commit(source.diff(base, tmp_path / "tree"), "the fix", KEY)
        assert (tmp_path / "tree" / "untracked").exists() is False
        assert (repository.state(), sorted(str(path) for path in (repository.path / ".git").rglob("*"))) == before
