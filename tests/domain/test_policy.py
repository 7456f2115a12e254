"""The diff policy: what of a coding agent's work may become a candidate."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.config import SubstrateSettings
from moss.domain.ids import CommitId
from moss.domain.patch import FileChange, Patch
from moss.domain.policy import Rule, SourcePolicy, check_patch, oddness, policy_hash, shown

BASE = CommitId("0" * 40)
SETTINGS = SourcePolicy(editable=("clerk/**", "setup.cfg", "*.toml"), protected=("clerk/health.py",), max_diff_lines=20)


@dataclass
class Change:
    """One file of a patch, written as git would."""

    path: str = "clerk/tools.py"
    status: str = "M"
    added: Sequence[str] = ("x = 2",)
    removed: Sequence[str] = ("x = 1",)
    kept: Sequence[str] = ()
    modes: tuple[str | None, str | None] = (None, None)
    mode: str | None = "100644"
    binary: bool = False

    @property
    def file(self) -> FileChange:
        return FileChange(self.path, self.status, len(self.added), len(self.removed), self.binary, self.mode)  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        old, new = f"a/{self.path}", f"b/{self.path}"
        lines = [f"diff --git {old} {new}"]
        before, after = self.modes
        if before and after:
            lines += [f"old mode {before}", f"new mode {after}"]
        elif self.status == "A":
            lines += [f"new file mode {after or self.mode}"]
            old = "/dev/null"
        elif self.status == "D":
            lines += ["deleted file mode 100644"]
            new = "/dev/null"
        if self.binary:
            lines += ["GIT binary patch", "literal 1", "Ic$", ""]
        elif self.added or self.removed:
            sizes = len(self.removed) + len(self.kept), len(self.added) + len(self.kept)
            lines += [f"--- {old}", f"+++ {new}", f"@@ -1,{sizes[0]} +1,{sizes[1]} @@"]
            lines += [f" {line}" for line in self.kept] + [f"-{line}" for line in self.removed]
            lines += [f"+{line}" for line in self.added]
        return "\n".join(lines) + "\n"


def added(path: str, *lines: str, mode: str = "100644") -> Change:
    return Change(path, "A", lines or ("x = 1",), (), mode=mode)


def patch(*changes: Change) -> Patch:
    return Patch(
        BASE,
        "".join(each.text for each in changes).encode(errors="surrogateescape"),
        tuple(each.file for each in changes),
    )


def rules(*changes: Change, settings: SourcePolicy = SETTINGS, **more: object) -> set[Rule]:
    return {breach.rule for breach in check_patch(patch(*changes), settings, **more)}  # type: ignore[arg-type]


def test_a_small_change_of_an_editable_file_with_a_new_test_is_good() -> None:
    assert rules(Change(), added("tests/test_refund.py", "def test_x(): assert refund()")) == set()


def test_nothing_is_no_breach() -> None:
    assert check_patch(Patch(BASE, b"", ()), SETTINGS) == ()


@pytest.mark.parametrize("path", ["other/tools.py", "clerk.py", "README.md"])
def test_what_is_not_editable_is_refused(path: str) -> None:
    assert rules(Change(path)) == {Rule.NOT_EDITABLE}


@pytest.mark.parametrize(
    "path",
    [
        "clerk/health.py", "moss.toml", ".git/hooks/pre-commit", ".gitattributes", "clerk/.gitmodules", ".moss/x",
        "clerk/.moss/store.db", "clerk/moss_hooks.py", "clerk/live.moss.json", ".env", "clerk/.env.local", "MOSS.TOML",
        "clerk/.GIT/config", ".github/workflows/ci.yml", "Dockerfile", "clerk/Dockerfile.prod", "clerk/Makefile",
        "uv.lock", "clerk/requirements-dev.txt", "clerk/conftest.py", "tests/conftest.py", "sitecustomize.py",
        "clerk/x.pth", "AGENTS.md", "clerk/CLAUDE.md", ".claude/settings.json", ".mcp.json", "clerk/package.json",
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", ["M", "A"])
def test_what_builds_steers_or_judges_is_protected(path: str, status: str) -> None:
    assert rules(Change(path) if status == "M" else added(path)) == {Rule.PROTECTED}


@pytest.mark.parametrize(
    "path",
    [
        *("GNUmakefile", "clerk/justfile", "build.rs", "pytest.toml", ".coveragerc", "clerk/tsconfig.build.json"),
        *(".cargo/config.toml", "clerk/pip.conf", "setup.cfg", "tox.ini", "noxfile.py", "clerk/conftest.py"),
        *("package.json", ".npmrc", ".yarnrc.yml", "binding.gyp", "jest.config.mjs", "clerk/sitecustomize.py"),
        *("clerk/evil.pth", "compose.override.yaml", "Dockerfile.dev", ".github/workflows/ci.yml", ".gitattributes"),
        *(".husky/pre-commit", "gradlew", "go.work", "constraints-dev.txt", "clerk/x.dist-info/entry_points.txt"),
    ],
)
@pytest.mark.parametrize("status", ["A", "M", "D"])
def test_a_wide_pattern_opens_nothing_that_builds_installs_or_runs_before_the_tests(path: str, status: str) -> None:
    wide = SourcePolicy(editable=("**",))
    assert Rule.PROTECTED in rules(Change(path, status), settings=wide)
    assert Rule.PROTECTED in rules(Change(path.upper(), status), settings=wide)


def test_letter_case_opens_no_test_and_no_protected_file() -> None:
    wide = SourcePolicy(editable=("**",), protected=("Clerk/Health.py",))
    assert rules(Change("Tests/test_refund.py"), settings=wide) == {Rule.TEST}
    assert rules(Change("clerk/health.py"), settings=wide) == {Rule.PROTECTED}
    assert rules(added("TESTS/test_x.py", "@pytest.mark.skip"), settings=wide) == {Rule.SKIP}


@pytest.mark.parametrize(
    "line",
    [
        "access = 'user\u202e \u2066// admin\u2069 \u2066'",
        "is_admin\u200b = True",
        "x = 1  # \u2067 return",
        "def check\u3164(): pass",
        "print('a')\rprint('b')",
        "x = '\x1b[8m'",
        "a\u00adb = 1",
        "\ufeffimport os",
        "x = 1\u2028import os",
        "tag\U000e0041",
        "is\u200dadmin = 1",
    ],
)
def test_what_a_reader_does_not_see_is_refused_with_its_name(line: str) -> None:
    breaches = check_patch(patch(Change(added=(line,))), SETTINGS)
    assert [breach.rule for breach in breaches] == [Rule.HIDDEN]
    assert "invisible character U+" in breaches[0].says
    assert breaches[0].says.isprintable()


@pytest.mark.parametrize(
    "line",
    [
        "\tx = 1\t# tab",
        "x = 1\r",
        "\f",
        "name = 'Ж ü 漢'",
        "family = '👨\u200d👩\u200d👧'",
        "\u0645\u06cc\u200c\u062e",
        "x\xa0= 1",
    ],
)
def test_what_people_write_is_not_hidden(line: str) -> None:
    assert rules(Change(added=(line,))) == set()


def test_hidden_characters_that_were_there_may_go_and_stay() -> None:
    assert rules(Change(removed=("a\u202eb",), kept=("c\u200bd",))) == set()


def test_a_build_file_may_be_edited_where_a_pattern_names_it() -> None:
    assert rules(Change("setup.cfg")) == set()
    assert rules(Change("clerk/setup.cfg")) == {Rule.PROTECTED}


@pytest.mark.parametrize("path", ["pyproject.toml", "conftest.py", "sitecustomize.py", "setup.py"])
def test_a_pattern_with_a_wildcard_names_no_file(path: str) -> None:
    wide = SourcePolicy(editable=("*.toml", "*.py", "[cps]*.py"))
    assert rules(Change(path), settings=wide) == {Rule.PROTECTED}
    assert rules(Change(path), settings=SourcePolicy(editable=(path,))) == set()


def test_no_pattern_opens_what_is_always_protected() -> None:
    wide = SourcePolicy(editable=("**", "moss.toml", ".git/config", ".env"))
    assert rules(Change("moss.toml"), settings=wide) == {Rule.PROTECTED}
    assert rules(Change(".git/config"), settings=wide) == {Rule.PROTECTED}
    assert rules(Change(".env"), settings=wide) == {Rule.PROTECTED}


def test_a_protected_file_may_not_be_deleted() -> None:
    assert rules(Change("clerk/health.py", "D", (), ("x",), mode=None)) == {Rule.PROTECTED}


@pytest.mark.parametrize("status", ["M", "D"])
def test_tests_are_neither_changed_nor_deleted(status: str) -> None:
    change = Change(
        "tests/test_a.py", status, () if status == "D" else ("x",), ("y",), mode=None if status == "D" else "100644"
    )
    assert rules(change, settings=SourcePolicy()) == {Rule.TEST}


@pytest.mark.parametrize(
    "line",
    [
        "@pytest.mark.skip", "    pytest.skip('no')", "@pytest.mark.xfail(strict=False)", "pytest.importorskip('x')",
        "@unittest.skipIf(True, '')", "raise unittest.SkipTest", "self.skipTest('x')", "it.skip('x', () => {})",
        "xit('x')", "test.only('x')", "@Disabled", "@Ignore", "t.Skip()", "#[ignore]", "__test__ = False",
    ],
)  # fmt: skip
def test_added_tests_must_run(line: str) -> None:
    assert rules(added("tests/test_new.py", line)) == {Rule.SKIP}


@pytest.mark.parametrize(
    "line", ["skip_line = 1", "def test_skips_header(): ...", "exit(0)", "latest.only = 1", "commit.skip"]
)
def test_words_that_only_look_like_it_are_fine(line: str) -> None:
    assert rules(added("tests/test_new.py", line)) == set()


def test_binary_is_refused() -> None:
    assert rules(Change(binary=True, added=(), removed=())) == {Rule.BINARY}


@pytest.mark.parametrize(
    "change",
    [
        Change(modes=("100644", "100755"), mode="100755", added=(), removed=()),
        added("clerk/run.sh", mode="100755"),
        added("clerk/link", "/etc/passwd", mode="120000"),
        added("clerk/module", "Subproject commit 1", mode="160000"),
        Change(status="T", mode="120000"),
    ],
)
def test_modes_links_and_submodules_are_refused(change: Change) -> None:
    assert Rule.MODE in rules(change)


def test_an_executable_file_may_be_edited_when_it_stays_one() -> None:
    assert rules(Change(mode="100755")) == set()


def test_size_is_bounded_in_lines_bytes_files_and_width() -> None:
    assert rules(Change(added=["x"] * 20, removed=())) == set()
    assert rules(Change(added=["x"] * 21, removed=())) == {Rule.SIZE}
    assert rules(Change(added=["x" * 2001])) == {Rule.SIZE}
    wide = SourcePolicy(max_diff_lines=10_000)
    assert rules(*(Change(f"f{n}.py") for n in range(101)), settings=wide) == {Rule.SIZE}
    assert rules(Change("f.py", added=["x" * 1999] * 600), settings=wide) == {Rule.SIZE}


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../x", "a/../../x", "a/./x", "a//b", "a/", "a\\b", "C:x", "~/x", "a\x00b", "a\nb", "a\x1bb",
        "a\u202eb", "a\u200bb", " a", "a ", "a.", "a/b /c", "e\u0301", "x" * 1025, "a*b", "\udcff",
    ],
)  # fmt: skip
def test_odd_paths_are_odd(path: str) -> None:
    assert oddness(path)


@pytest.mark.parametrize(
    "path", ["a", "a/b.py", "with blank/x y.py", ".hidden", "a..b", "ünï/ç.py", "日本/x", "a-b_c+d@e"]
)
def test_plain_paths_are_plain(path: str) -> None:
    assert oddness(path) is None


def test_an_odd_path_is_refused_and_shown_harmless() -> None:
    (breach, *_) = [
        each for each in check_patch(patch(Change("clerk/a\x1b[2J.py")), SETTINGS) if each.rule is Rule.PATH
    ]
    assert str(breach) == "`clerk/a?[2J.py` cannot be a path of the source: it holds a control or hidden character."


def test_paths_that_differ_only_in_case_are_refused() -> None:
    assert rules(Change("clerk/a.py"), added("clerk/A.py")) == {Rule.PATH}


def test_a_list_of_files_that_hides_one_is_refused() -> None:
    hidden = Patch(BASE, (Change().text + Change("clerk/health.py").text).encode(), (Change().file,))
    assert [breach.rule for breach in check_patch(hidden, SETTINGS)] == [Rule.UNREADABLE]


def test_a_text_that_is_no_diff_is_refused() -> None:
    assert [breach.rule for breach in check_patch(Patch(BASE, b"rm -rf", ()), SETTINGS)] == [Rule.UNREADABLE]


def test_a_secret_is_named_by_its_kind_and_never_repeated() -> None:
    def finder(text: str) -> Sequence[str]:
        return ["api-key"] if "sk-123" in text else []

    (breach,) = check_patch(patch(Change(added=["key = 'sk-123'"])), SETTINGS, secrets=finder)
    assert breach.rule is Rule.SECRET
    assert "api-key" in breach.says
    assert "sk-123" not in breach.says
    assert rules(Change(added=["x"], removed=["key = 'sk-123'"]), secrets=finder) == set()


def test_an_expected_answer_is_refused_and_never_repeated() -> None:
    answer = "refunded exactly once"
    (breach,) = check_patch(patch(Change(added=[f"return '{answer}'"])), SETTINGS, [answer])
    assert breach.rule is Rule.LITERAL
    assert answer not in breach.says


def test_an_answer_over_several_lines_is_found() -> None:
    assert rules(Change(added=["one two", "three four"]), literals=["two\nthree four"]) == {Rule.LITERAL}


def test_a_short_answer_or_one_that_the_base_holds_is_none() -> None:
    assert rules(Change(added=["return 'done'"]), literals=["done"]) == set()
    old = "the expected answer"
    assert rules(Change(added=[f"say('{old}')"], removed=[f"print('{old}')"]), literals=[old]) == set()
    assert rules(Change(added=[f"say('{old}')"], kept=[f"# {old}"]), literals=[old]) == set()


def test_a_line_marked_to_be_kept_is_kept() -> None:
    assert rules(Change(removed=["trace()  # moss:keep"], added=["pass"])) == {Rule.KEPT_LINE}
    assert rules(Change(kept=["trace()  # moss:keep"])) == set()


def test_every_breach_is_told_at_once() -> None:
    broken = rules(Change("moss.toml"), Change("other.py"), added("tests/t.py", "@pytest.mark.skip"))
    assert broken == {Rule.PROTECTED, Rule.NOT_EDITABLE, Rule.SKIP}


def test_a_breach_is_one_sentence() -> None:
    for breach in check_patch(patch(Change("moss.toml"), Change("x\n.py"), Change(added=["y"] * 50)), SETTINGS):
        assert breach.says.endswith(".")
        assert "\n" not in breach.says


def test_the_policy_hash_pins_what_it_is_given() -> None:
    one = SubstrateSettings(name="clerk", check=("pytest",))
    changed = [
        one.model_copy(update=update)
        for update in ({"editable": ("a",)}, {"protected": ("a",)}, {"check": ("true",)}, {"max_diff_lines": 9})
    ]
    assert len({policy_hash(each) for each in (one, *changed)}) == 5
    assert policy_hash(one) == policy_hash(SubstrateSettings(name="clerk", check=("pytest",)))
    assert policy_hash(one, one) != policy_hash(one)


PATHS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["clerk/a.py", "tests/x.py", "moss.toml", "../a", "/a", "Dockerfile", "clerk/health.py"]),
)


@given(PATHS, st.sampled_from("AMDT"), st.sampled_from(["100644", "100755", "120000", "160000", None]), st.booleans())
def test_only_plain_text_changes_of_editable_files_ever_pass(
    path: str, status: str, mode: str | None, binary: bool
) -> None:
    change = Change(path, status, (), (), mode=mode, binary=binary)
    given_patch = Patch(BASE, b"", (change.file,))
    passed = not [breach for breach in check_patch(given_patch, SETTINGS) if breach.rule is not Rule.UNREADABLE]
    if passed:
        assert oddness(path) is None
        assert not binary
        assert mode in (None, "100644", "100755")
        editable = path.startswith("clerk/") and path != "clerk/health.py"
        new_test = status == "A" and path.startswith("tests/")
        assert editable or new_test or path == "setup.cfg" or path.endswith(".toml")


@given(st.text(max_size=300))
def test_a_shown_path_is_one_harmless_word(path: str) -> None:
    assert all(char.isprintable() or char == "\u3000" or char.isspace() for char in shown(path))
    assert "\n" not in shown(path)
    assert len(shown(path)) <= 202


@given(st.binary(max_size=300))
def test_no_bytes_break_the_policy(text: bytes) -> None:
    for breach in check_patch(Patch(BASE, text, ()), SETTINGS):
        assert breach.says
