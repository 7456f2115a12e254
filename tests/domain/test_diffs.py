"""Reading git's diff output: what git writes is read exactly, anything else is `BadDiff` and nothing worse."""

import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.domain.diffs import AddedLine, BadDiff, added_lines, changes, parted, path_of, unquote
from moss.domain.patch import FileChange
from moss.testing.repository import ENVIRONMENT

NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name)


def test_changes_join_both_lists_by_path() -> None:
    raw = (
        b":100644 100644 aaaa bbbb M\0a.py\0:000000 100755 0000 cccc A\0b\nb\0"
        b":100644 000000 aaaa 0000 D\0c\0:120000 100644 aaaa bbbb T\0d\0"
    )
    numstat = b"2\t1\ta.py\0" + b"-\t-\tb\nb\0" + b"0\t3\tc\0" + b"1\t1\td\0"
    assert changes(raw, numstat) == (
        FileChange("a.py", "M", 2, 1, False, "100644"),
        FileChange("b\nb", "A", 0, 0, True, "100755"),
        FileChange("c", "D", 0, 3, False, None),
        FileChange("d", "T", 1, 1, False, "100644"),
    )
    assert changes(b"", b"") == ()


@pytest.mark.parametrize(
    ("raw", "numstat"),
    [
        (b":100644 100644 a b M", b""),
        (b"100644 100644 a b M\0x\0", b""),
        (b":100644 100644 a b R100\0x\0y\0", b""),
        (b":100644 100644 a b\0x\0", b""),
        (b":100644 100644 a b M\0\0", b""),
        (b"", b"1\t2\0"),
        (b"", b"x\t2\tname\0"),
        (b"", b"-\t2\tname\0"),
    ],
)
def test_what_git_does_not_write_is_refused(raw: bytes, numstat: bytes) -> None:
    if raw == b":100644 100644 a b M":
        # cut before the path: an unfinished entry is none
        assert changes(raw, numstat) == ()
        return
    with pytest.raises(BadDiff):
        changes(raw, numstat)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes, numstat: bytes) -> None:
    for read in (lambda: changes(raw, numstat), lambda: list(added_lines(raw)), lambda: unquote(raw)):
        with contextlib.suppress(BadDiff):
            read()


LINES = [b"+++ b/x", b"--- a/x", b"@@ -1 +1 @@", b"@@ -0,0 +1,2 @@", b"+", b"-", b" ", b"\\", b"x"]


@given(st.lists(st.sampled_from(LINES)))
def test_lines_that_look_like_a_diff_are_read_or_refused(lines: list[bytes]) -> None:
    with contextlib.suppress(BadDiff):
        found = list(added_lines(b"\n".join(lines)))
        assert len(found) <= sum(line.startswith(b"+") for line in lines)


def test_added_lines_have_the_numbers_of_the_new_file() -> None:
    text = (
        b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,3 +1,4 @@ def f():\n one\n-two\n+2\n+2.5\n three\n"
        b"@@ -10 +11 @@\n-ten\n+10\n\\ No newline at end of file\n"
        b'diff --git "a/a\\tb" "b/a\\tb"\nnew file mode 100644\n--- /dev/null\n+++ "b/a\\tb"\n@@ -0,0 +1 @@\n+new\n'
    )
    assert list(added_lines(text)) == [
        AddedLine("x", 2, b"2"),
        AddedLine("x", 3, b"2.5"),
        AddedLine("x", 11, b"10"),
        AddedLine("a\tb", 1, b"new"),
    ]


def test_no_content_passes_for_a_header() -> None:
    text = b"--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n--- a/y\n+++ b/y\n+@@ -1 +1 @@\n"
    assert list(added_lines(text)) == [AddedLine("x", 1, b"++ b/y"), AddedLine("x", 2, b"@@ -1 +1 @@")]


def test_a_hunk_with_a_foreign_line_is_refused() -> None:
    with pytest.raises(BadDiff):
        list(added_lines(b"+++ b/x\n@@ -1 +1 @@\nx\n"))


@pytest.mark.parametrize(
    ("word", "plain"),
    [
        (b"plain", b"plain"),
        (b'"b/a\\nb"', b"b/a\nb"),
        (b'"\\"\\\\\\a\\b\\t\\v\\f\\r"', b'"\\\a\b\t\v\f\r'),
        (b'"\\303\\274"', b"\xc3\xbc"),
        (b'""', b""),
    ],
)
def test_quoted_paths_are_read(word: bytes, plain: bytes) -> None:
    assert unquote(word) == plain


@pytest.mark.parametrize("word", [b'"', b'"a', b'"\\x"', b'"\\"', b'"\\8"'])
def test_badly_quoted_paths_are_refused(word: bytes) -> None:
    with pytest.raises(BadDiff):
        unquote(word)


@given(NAMES)
def test_a_path_is_always_text_that_can_be_stored(name: bytes) -> None:
    assert path_of(name).encode().decode() == path_of(name)


@pytest.mark.parametrize("name", [b"a b", b'"', b"\\", b"\n", b"\t", b"\x01", b"\x7f", b"\xff\xfe", "ü".encode()])
def test_the_paths_that_git_itself_writes_are_read(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    with open(bytes(tmp_path / "full") + b"/" + name, "wb") as file:
        file.write(b"one\ntwo\n")
    words = ["git", "-c", "core.quotePath=false", "diff", "--no-index", "empty", "full"]
    ran = subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, check=False)
    wanted = path_of(b"full/" + name)
    assert [(line.path, line.number) for line in added_lines(ran.stdout)] == [(wanted, 1), (wanted, 2)]


RAW = NAMES.map(lambda name: b":100644 100644 " + b"a" * 40 + b" " + b"b" * 40 + b" M\0" + name + b"\0")
NUMBERS = NAMES.map(lambda name: b"1\t2\t" + name + b"\0")


@given(st.lists(RAW), st.lists(NUMBERS))
def test_two_lists_in_one_text_are_parted_whatever_the_paths(raw: list[bytes], numbers: list[bytes]) -> None:
    one, two = b"".join(raw), b"".join(numbers)
    assert parted(one + two) == (one, two)


@pytest.mark.parametrize("text", [b":100644", b":100644 M\0", b":a\0b\0:c\0"])
def test_a_raw_list_that_breaks_off_is_refused(text: bytes) -> None:
    with pytest.raises(BadDiff):
        parted(text)
