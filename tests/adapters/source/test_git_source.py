"""The git source against repositories and work trees that want out: names, links, attributes, hooks, nested git."""

import os
import subprocess
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from moss.adapters.source.git import GitSource
from moss.adapters.source.git_program import Git
from moss.adapters.source.git_trees import KEPT, SMALL
from moss.domain.ids import CommitId, Key
from moss.domain.patch import Patch
from moss.errors import Refused, UserError
from moss.testing.repository import Repository

KEY = Key("ev-01/1/implement/1")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository.new(tmp_path / "repository")
    made.write("tools.py", "one\ntwo\nthree\n")
    return made


@pytest.fixture
def source(repository: Repository, tmp_path: Path) -> GitSource:
    return GitSource(tmp_path / "home", repository.path, "clerk")


@pytest.fixture
def base(repository: Repository) -> CommitId:
    return repository.commit()


@pytest.fixture
def tree(source: GitSource, base: CommitId, tmp_path: Path) -> Path:
    source.export(base, tmp_path / "tree")
    return tmp_path / "tree"


def paths(patch: Patch) -> set[str]:
    return {change.path for change in patch.files}


def trap(tmp_path: Path) -> tuple[Path, str]:
    """A program that leaves a trace when anybody runs it."""
    trace = tmp_path / "TRAPPED"
    program = tmp_path / "trap.sh"
    program.write_text(f"#!/bin/sh\ntouch {trace}\ncat\n")
    program.chmod(0o755)
    return trace, str(program)


# ------------------------------------------------------------------ names and links in a work tree


NAMES = [
    "-x", "--all", "a b", " ", "'", '"', "\\", "a\nb", "a\tb", "a\rb", "\x1b[2J", "ü€😀", ":(top)x", ":x", "*", "?",
    "[a]", "#x", "!x", "~", "$(touch x)", "`id`", ";rm -rf", "x" * 255, ".gitx", "a.git", "..x", "...",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_goes_through_as_it_is(
    source: GitSource, base: CommitId, tree: Path, tmp_path: Path, name: str
) -> None:
    (tree / name).write_text("text\n")
    (tree / "deep").mkdir()
    (tree / "deep" / name).write_text("text\n")
    patch = source.diff(base, tree)
    assert paths(patch) == {name, f"deep/{name}"}
    made = source.commit(patch, "names", KEY)
    assert source.patch_between(base, made) == patch
    assert dict(source.changed_lines(base, made)) == {name: [1], f"deep/{name}": [1]}
    source.export(made, tmp_path / "again")
    assert (tmp_path / "again" / name).read_text() == "text\n"


def test_a_name_that_is_no_text_goes_through(source: GitSource, base: CommitId, tree: Path, tmp_path: Path) -> None:
    raw = os.fsencode(tree) + b"/\xff\xfe"
    os.close(os.open(raw, os.O_CREAT | os.O_WRONLY))
    patch = source.diff(base, tree)
    assert paths(patch) == {"\\xff\\xfe"}
    source.export(source.commit(patch, "bytes", KEY), tmp_path / "again")
    assert b"\xff\xfe" in os.listdir(os.fsencode(tmp_path / "again"))


def plant_repository(tree: Path) -> None:
    nested = Repository.new(tree / "nested")
    nested.write("inner.py", "x\n")
    nested.commit()


def plant_git_file(tree: Path) -> None:
    (tree / ".git").write_text("gitdir: /etc\n")
    (tree / "nested").mkdir()
    (tree / "nested" / ".git").write_text("gitdir: /etc\n")
    (tree / "nested" / "inner.py").write_text("x\n")


def plant_git_folder(tree: Path) -> None:
    for name in (".git", ".GIT", "git~1", ".git ", "nested/.Git"):
        (tree / name / "hooks").mkdir(parents=True)
        (tree / name / "config").write_text("[core]\n\tfsmonitor = touch /tmp/evil\n")
    (tree / "nested" / "inner.py").write_text("x\n")


@pytest.mark.parametrize("plant", [plant_repository, plant_git_file, plant_git_folder])
def test_a_git_folder_in_a_work_tree_is_left_out_and_what_is_beside_it_is_not(
    source: GitSource, base: CommitId, tree: Path, plant: Callable[[Path], None]
) -> None:
    plant(tree)
    patch = source.diff(base, tree)
    assert paths(patch) == {"nested/inner.py"}
    assert source.commit(patch, "nested", KEY)


def test_links_out_of_the_tree_are_links_and_nothing_is_read_through_them(
    source: GitSource, base: CommitId, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("the secret\n")
    (tree / "file").symlink_to(tmp_path / "outside" / "secret")
    (tree / "folder").symlink_to(tmp_path / "outside")
    (tree / "up").symlink_to("../..")
    (tree / "loop").symlink_to("loop")
    (tree / ".gitignore").symlink_to(tmp_path / "outside" / "secret")
    (tree / "tools.py").unlink()
    (tree / "tools.py").symlink_to("/etc/passwd")
    patch = source.diff(base, tree)
    assert {(change.path, change.mode) for change in patch.files} == {
        (name, "120000") for name in ("file", "folder", "up", "loop", ".gitignore", "tools.py")
    }
    assert b"the secret" not in patch.text
    assert b"root:" not in patch.text
    made = source.commit(patch, "links", KEY)
    source.export(made, tmp_path / "again")
    assert os.readlink(tmp_path / "again" / "folder") == str(tmp_path / "outside")
    source.export(base, tmp_path / "again")
    assert (tmp_path / "outside" / "secret").read_text() == "the secret\n"


def test_a_folder_that_became_a_link_is_not_entered(source: GitSource, repository: Repository, tmp_path: Path) -> None:
    repository.write("deep/x.py", "x\n")
    base = repository.commit()
    tree = tmp_path / "tree"
    source.export(base, tree)
    (tree / "deep" / "x.py").rename(tmp_path / "x.py")
    (tree / "deep").rmdir()
    (tree / "deep").symlink_to(tmp_path)
    patch = source.diff(base, tree)
    assert {(change.path, change.status) for change in patch.files} == {("deep", "A"), ("deep/x.py", "D")}
    again = tmp_path / "again"
    source.export(source.commit(patch, "a link", KEY), again)
    assert (again / "deep").is_symlink()


def test_special_files_are_left_out(source: GitSource, base: CommitId, tree: Path) -> None:
    os.mkfifo(tree / "fifo")
    (tree / "tools.py").unlink()
    os.mkfifo(tree / "tools.py")
    assert {(change.path, change.status) for change in source.diff(base, tree).files} == {("tools.py", "D")}


def test_an_empty_tree_deletes_everything(source: GitSource, base: CommitId, tree: Path) -> None:
    (tree / "tools.py").unlink()
    patch = source.diff(base, tree)
    assert [change.status for change in patch.files] == ["D"]
    assert source.commit(patch, "all gone", KEY) != base


# ------------------------------------------------------------------ size


@pytest.mark.slow
def test_a_file_of_100_mb_is_one_binary_change_and_a_short_text(
    source: GitSource, base: CommitId, tree: Path, tmp_path: Path
) -> None:
    with open(tree / "core", "wb") as file:
        for _ in range(100):
            file.write(os.urandom(1 << 20))
    (tree / "tools.py").write_text("one\n")
    tracemalloc.start()
    patch = source.diff(base, tree)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {(change.path, change.binary) for change in patch.files} == {("core", True), ("tools.py", False)}
    assert len(patch.text) < 2000
    assert peak < 16 << 20
    source.export(source.commit(patch, "large", KEY), tmp_path / "again")
    assert (tmp_path / "again" / "core").read_bytes() == (tree / "core").read_bytes()


@pytest.mark.slow
def test_a_change_of_many_large_texts_has_no_text_and_is_refused(source: GitSource, base: CommitId, tree: Path) -> None:
    for number in range(12):
        (tree / f"{number}.txt").write_text(f"{number} a line of some length\n" * 70_000)
    patch = source.diff(base, tree)
    assert len(patch.files) == 12
    assert not any(change.binary for change in patch.files)
    assert patch.text == b""
    with pytest.raises(Refused):
        source.commit(patch, "large", KEY)


def test_deep_folders_and_many_files_go_through(source: GitSource, base: CommitId, tree: Path) -> None:
    deep = tree.joinpath(*["d"] * 300)
    deep.mkdir(parents=True)
    (deep / "x").write_text("")
    for number in range(300):
        (tree / f"{number}.txt").write_text(str(number))
    patch = source.diff(base, tree)
    assert len(patch.files) == 301
    assert source.commit(patch, "many", KEY)


# ------------------------------------------------------------------ attributes, hooks, configuration


@pytest.mark.parametrize("where", ["base", "tree"])
def test_attributes_change_no_byte_and_start_nothing(
    source: GitSource, repository: Repository, tmp_path: Path, where: str
) -> None:
    trace, program = trap(tmp_path)
    rules = "*.py text eol=crlf ident filter=trap diff=trap working-tree-encoding=UTF-16\n*.py -diff export-ignore\n"
    content = b"# $Id$\r\nmixed\n\xff\n"
    repository.write("mixed.py", content)
    if where == "base":
        repository.write(".gitattributes", rules)
        repository.git("add", ".gitattributes")
        oid = repository.git("hash-object", "-w", "--no-filters", "mixed.py")
        repository.git("update-index", "--add", "--cacheinfo", f"100644,{oid},mixed.py")
        repository.git("commit", "--quiet", "-m", "attributes")
    else:
        repository.commit()
    for name in ("filter.trap.clean", "filter.trap.smudge", "diff.trap.textconv", "diff.trap.command", "diff.external"):
        repository.git("config", name, program)
    base = CommitId(repository.git("rev-parse", "HEAD"))
    tree = tmp_path / "tree"
    source.export(base, tree)
    assert (tree / "mixed.py").read_bytes() == content
    if where == "tree":
        (tree / ".gitattributes").write_text(rules)
    else:
        assert source.diff(base, tree).files == ()
    (tree / "mixed.py").write_bytes(content + b"more\r\n")
    patch = source.diff(base, tree)
    assert [change.binary for change in patch.files if change.path == "mixed.py"] == [False]
    assert b"+more\r\n" in patch.text
    made = source.commit(patch, "mixed", KEY)
    source.export(made, tmp_path / "again")
    assert (tmp_path / "again" / "mixed.py").read_bytes() == content + b"more\r\n"
    assert not trace.exists()


def test_hooks_of_the_users_repository_are_not_run(
    source: GitSource, repository: Repository, base: CommitId, tree: Path, tmp_path: Path
) -> None:
    trace, program = trap(tmp_path)
    hooks = repository.path / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("reference-transaction", "post-update", "pre-receive", "update", "post-receive", "post-checkout"):
        (hooks / name).unlink(missing_ok=True)
        (hooks / name).symlink_to(program)
    repository.git("config", "core.hooksPath", str(hooks))
    repository.git("config", "core.fsmonitor", program)
    repository.git("config", "uploadpack.packObjectsHook", program)
    trace.unlink(missing_ok=True)
    (tree / "tools.py").write_text("fixed\n")
    source.publish("moss/live", source.commit(source.diff(base, tree), "the fix", KEY))
    source.resolve("HEAD")
    assert not trace.exists()


def test_our_own_environment_does_not_matter(
    source: GitSource, base: CommitId, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, program = trap(tmp_path)
    for name in ("GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_EDITOR", "GIT_SSH_COMMAND", "GIT_ASKPASS"):
        monkeypatch.setenv(name, program)
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Mallory")
    (tree / "tools.py").write_text("fixed\n")
    patch = source.diff(base, tree)
    made = source.commit(patch, "the fix", KEY)
    author = Git(tmp_path / "home" / "git" / "clerk.git", Path("/dev/null")).word(
        "log", "-1", "--format=%an %ae %aI", made
    )
    assert author == "MOSS moss@localhost 2026-01-02T03:04:05Z" or author.startswith("MOSS moss@localhost 2026-01-02")
    assert not trace.exists()


# ------------------------------------------------------------------ patches that want out


ESCAPES = [
    "../out",
    "a/../../out",
    "/etc/moss-was-here",
    ".git/hooks/post-update",
    "a/.git/x",
    ".GIT/config",
    "a/../.git/x",
]


@pytest.mark.parametrize("folder", ["", "sub/"])
@pytest.mark.parametrize("path", ESCAPES)
def test_a_patch_with_a_path_that_leads_out_is_refused(
    repository: Repository, tmp_path: Path, folder: str, path: str
) -> None:
    repository.write(f"{folder}tools.py", "x\n")
    base = repository.commit()
    source = GitSource(tmp_path / "home", repository.path / folder, "clerk")
    text = (
        f"diff --git a/{path} b/{path}\nnew file mode 100755\nindex 0000000..257cc56\n"
        f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+foo\n"
    ).encode()
    with pytest.raises(Refused):
        source.commit(Patch(base, text, ()), "out", KEY)
    assert not Path("/etc/moss-was-here").exists()


def test_a_patch_cannot_write_through_a_link_that_it_makes(source: GitSource, base: CommitId, tmp_path: Path) -> None:
    text = (
        f"diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+{tmp_path}\n"
        "\\ No newline at end of file\n"
        "diff --git a/l/out b/l/out\nnew file mode 100644\n--- /dev/null\n+++ b/l/out\n@@ -0,0 +1 @@\n+foo\n"
    ).encode()
    with pytest.raises(Refused):
        source.commit(Patch(base, text, ()), "out", KEY)
    assert not (tmp_path / "out").exists()


def test_a_patch_that_does_more_than_its_list_says_is_refused(source: GitSource, base: CommitId, tree: Path) -> None:
    (tree / "tools.py").write_text("fixed\n")
    honest = source.diff(base, tree)
    (tree / "health.py").write_text("ok = True\n")
    more = source.diff(base, tree)
    for doctored in (
        Patch(base, more.text, honest.files),
        Patch(base, honest.text, more.files),
        Patch(base, more.text, ()),
    ):
        with pytest.raises(Refused, match="list of files"):
            source.commit(doctored, "more", KEY)


def test_a_message_is_data(source: GitSource, base: CommitId, tree: Path, tmp_path: Path) -> None:
    (tree / "tools.py").write_text("fixed\n")
    message = "-F /etc/passwd\n\n$(id) \0 \ud800 ü\n#comment"
    made = source.commit(source.diff(base, tree), message, KEY)
    said = Git(tmp_path / "home" / "git" / "clerk.git", Path("/dev/null"))("log", "-1", "--format=%B", made).decode()
    assert said.strip() == "-F /etc/passwd\n\n$(id)  \\ud800 ü\n#comment"


# ------------------------------------------------------------------ commits that want out


def hostile_commit(repository: Repository, mode: str, name: bytes) -> CommitId:
    """A commit as no git program would make it."""
    oid = repository.git("hash-object", "-w", "--stdin", stdin=b"evil\n")
    entry = mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid)
    root = repository.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=entry)
    made = repository.git("commit-tree", root, "-m", "evil")
    repository.git("update-ref", "refs/heads/evil", made)
    return CommitId(made)


@pytest.mark.parametrize("name", [b"..", b".git", b"../out", b"/etc/moss-was-here", b".", b".GIT", b"a/../../out"])
def test_a_commit_with_a_path_that_leads_out_is_not_exported(
    source: GitSource, repository: Repository, base: CommitId, tmp_path: Path, name: bytes
) -> None:
    made = hostile_commit(repository, "100644", name)
    with pytest.raises(UserError):
        source.export(made, tmp_path / "deep" / "tree")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "deep" / "out").exists()
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_submodule_is_an_empty_folder_and_no_change(
    source: GitSource, repository: Repository, base: CommitId, tmp_path: Path
) -> None:
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{base},module")
    repository.write(".gitmodules", f'[submodule "m"]\n\tpath = module\n\turl = {tmp_path}\n')
    repository.git("add", ".gitmodules")
    repository.git("commit", "--quiet", "-m", "a module")
    commit = CommitId(repository.git("rev-parse", "HEAD"))
    source.export(commit, tmp_path / "tree")
    assert list((tmp_path / "tree" / "module").iterdir()) == []
    (tmp_path / "tree" / "module" / "x").write_text("")
    assert source.diff(commit, tmp_path / "tree").files == ()
    (tmp_path / "tree" / "module" / "x").unlink()
    (tmp_path / "tree" / "module").rmdir()
    (tmp_path / "tree" / "tools.py").write_text("fixed\n")
    patch = source.diff(commit, tmp_path / "tree")
    assert paths(patch) == {"tools.py"}
    assert source.commit(patch, "the fix", KEY)


# ------------------------------------------------------------------ the user's repository


def test_rules_of_the_folders_above_hold_in_a_folder_of_a_repository(repository: Repository, tmp_path: Path) -> None:
    repository.write(".gitignore", "*.pyc\n/sub/deep/out/\n")
    repository.write("sub/.gitignore", "tmp\n")
    repository.write("sub/deep/a.py", "x\n")
    base = repository.commit()
    source = GitSource(tmp_path / "home", repository.path / "sub" / "deep", "clerk")
    tree = tmp_path / "tree"
    source.export(base, tree)
    for name in ("a.pyc", "out/x", "tmp", "kept.py", "more/out/x"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("")
    assert paths(source.diff(base, tree)) == {"kept.py", "more/out/x"}


def test_what_the_base_holds_is_never_ignored(source: GitSource, repository: Repository, tmp_path: Path) -> None:
    repository.write(".gitignore", "*.log\n")
    repository.write("kept.log", "one\n")
    repository.git("add", "--force", "kept.log")
    base = repository.commit()
    source.export(base, tmp_path / "tree")
    (tmp_path / "tree" / ".gitignore").write_text("*\n")
    (tmp_path / "tree" / "kept.log").write_text("two\n")
    (tmp_path / "tree" / "new.py").write_text("")
    assert paths(source.diff(base, tmp_path / "tree")) == {".gitignore", "kept.log"}


def test_runs_outlive_a_rebase_of_the_user(
    source: GitSource, repository: Repository, base: CommitId, tree: Path
) -> None:
    repository.write("tools.py", "rewritten\n")
    repository.git("commit", "--quiet", "--all", "--amend", "-m", "rewritten")
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "--quiet", "--prune=now")
    assert source.resolve("HEAD") != base
    (tree / "tools.py").write_text("fixed\n")
    made = source.commit(source.diff(base, tree), "the fix", KEY)
    source.publish("moss/live", made)
    assert repository.git("show", "moss/live:tools.py") == "fixed"


def test_a_detached_head_and_a_worktree_are_sources_too(repository: Repository, base: CommitId, tmp_path: Path) -> None:
    repository.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "worktree"))
    other = Repository(tmp_path / "worktree")
    other.write("tools.py", "detached\n")
    later = other.commit()
    source = GitSource(tmp_path / "home", other.path, "clerk")
    assert source.resolve("HEAD") == later
    assert source.resolve("main") == base
    source.publish("moss/live", later)
    assert repository.git("rev-parse", "moss/live") == later


def test_a_shallow_clone_is_a_source_too(repository: Repository, base: CommitId, tmp_path: Path) -> None:
    repository.write("tools.py", "later\n")
    later = repository.commit("later")
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", f"file://{repository.path}", str(tmp_path / "shallow")], check=True
    )
    source = GitSource(tmp_path / "home", tmp_path / "shallow", "clerk")
    assert source.resolve("HEAD") == later
    assert source.resolve("origin/main") == later
    source.export(later, tmp_path / "tree")
    (tmp_path / "tree" / "tools.py").write_text("fixed\n")
    made = source.commit(source.diff(later, tmp_path / "tree"), "the fix", KEY)
    source.publish("moss/live", made)
    assert Repository(tmp_path / "shallow").git("show", "moss/live:tools.py") == "fixed"


@pytest.mark.parametrize("what", ["absent", "plain", "unborn", "bare folder"])
def test_what_is_no_repository_with_a_commit_is_said_with_the_mend(tmp_path: Path, what: str) -> None:
    path = tmp_path / "source"
    if what == "unborn":
        Repository.new(path)
    elif what != "absent":
        path.mkdir()
    with pytest.raises(UserError) as refused:
        GitSource(tmp_path / "home", path, "clerk").resolve("HEAD")
    assert refused.value.mend
    assert str(path) in str(refused.value)


def test_two_sources_of_one_home_do_not_meet(repository: Repository, base: CommitId, tmp_path: Path) -> None:
    other = Repository.new(tmp_path / "other")
    other.write("x", "x\n")
    commit = other.commit()
    one = GitSource(tmp_path / "home", repository.path, "one")
    two = GitSource(tmp_path / "home", other.path, "two")
    assert (one.resolve("HEAD"), two.resolve("HEAD")) == (base, commit)
    with pytest.raises(UserError):
        one.export(commit, tmp_path / "x")


def test_nothing_is_left_in_the_home_but_the_mirror(
    source: GitSource, base: CommitId, tree: Path, tmp_path: Path
) -> None:
    (tree / "tools.py").write_text("fixed\n")
    source.publish("moss/live", source.commit(source.diff(base, tree), "the fix", KEY))
    home = tmp_path / "home" / "git"
    assert sorted(path.name for path in home.iterdir()) == [".lock", "clerk.git", "gitconfig", "tmp"]
    assert list((home / "tmp").iterdir()) == []
    assert home.stat().st_mode & 0o077 == 0


def test_what_a_killed_controller_left_is_swept(source: GitSource, base: CommitId, tree: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "home" / "git" / "tmp"
    for name, age in (("old", 86_400), ("young", 0)):
        (scratch / name).mkdir(parents=True)
        os.utime(scratch / name, (time.time() - age,) * 2)
    (tmp_path / ".tree.new").mkdir()
    source.diff(base, tree)
    source.export(base, tree)
    assert [path.name for path in scratch.iterdir()] == ["young"]
    assert not (tmp_path / ".tree.new").exists()


# ------------------------------------------------------------------ what is kept


def test_files_that_are_kept_are_laid_out_again_as_they_were(
    source: GitSource, repository: Repository, tmp_path: Path
) -> None:
    repository.write("large.txt", "x" * (3 * SMALL))
    repository.write("deep/er/small.txt", "small")
    first = repository.commit()
    source.export(first, tmp_path / "first")
    repository.write("tools.py", "other\n")
    later = repository.commit("later")
    source.export(later, tmp_path / "later")
    source.export(first, tmp_path / "again")
    told = {path.relative_to(tmp_path / "again"): path.read_text() for path in (tmp_path / "again").rglob("*.*")}
    assert told == {
        Path("tools.py"): "one\ntwo\nthree\n",
        Path("large.txt"): "x" * (3 * SMALL),
        Path("deep/er/small.txt"): "small",
    }
    assert (tmp_path / "later" / "tools.py").read_text() == "other\n"


def test_only_some_small_files_are_kept_in_memory(source: GitSource, repository: Repository, tmp_path: Path) -> None:
    for number in range(2 * KEPT):
        repository.write(f"many/{number}.txt", f"{number}")
    commit = repository.commit()
    for name in ("one", "two"):
        source.export(commit, tmp_path / name)
        found = [(tmp_path / name / "many" / f"{number}.txt").read_text() for number in range(2 * KEPT)]
        assert found == [f"{number}" for number in range(2 * KEPT)]
    assert len(source._kept) <= KEPT
