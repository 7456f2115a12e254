"""What is shown of text from outside: one line, bounded, nothing that a terminal or a page would obey."""

import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.api.patches import files_of
from moss.api.plain import ago, block, count, date, plain, size, span
from moss.api.says import FileLine

ANY = st.text(st.characters(), max_size=400)


@given(ANY, st.integers(min_value=4, max_value=80))
def test_plain_is_one_bounded_line_without_a_letter_that_is_obeyed(text: str, longest: int) -> None:
    shown = plain(text, longest)
    assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in shown)
    assert len(shown) <= 6 * longest
    shown.encode()


@given(ANY)
def test_plain_of_plain_is_the_same(text: str) -> None:
    once = plain(text, 1000)
    assert plain(once, 10_000) == once


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("order 1021", "order 1021"),
        ("a\nb\t c", "a b c"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("right\u202eleft", "right\\u202eleft"),
        ("Größe · 数", "Größe · 数"),
        ("\ud800", "\\ud800"),
        ("x" * 300, "x" * 197 + "..."),
    ],
)
def test_plain(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(ANY)
def test_a_block_keeps_its_lines_and_none_is_obeyed(text: str) -> None:
    shown = block(text)
    assert len(shown) == min(text.count("\n") + 1, 2001)
    assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") for line in shown for letter in line)


def test_a_block_says_how_much_it_leaves_out() -> None:
    assert block("a\n" * 10 + "b", lines=3) == ("a", "a", "a", "... 8 more lines")
    assert block("    x" + "y" * 600)[0] == "    x" + "y" * 495 + "..."


def test_amounts_for_people() -> None:
    now = datetime(2026, 11, 25, 14, 0, tzinfo=UTC)
    assert [size(one) for one in (0, 999, 1000, 142_000_000, 78e9)] == ["0 B", "999 B", "1.0 kB", "142 MB", "78 GB"]
    assert [count(1, "file"), count(2, "file"), count(9031, "turn")] == ["1 file", "2 files", "9,031 turns"]
    spans = [span(timedelta(seconds=one)) for one in (-5, 59, 61, 7300, 200_000)]
    assert spans == ["0 s", "59 s", "1 min", "2 h", "2 d"]
    assert [ago(now, now), ago(now - timedelta(hours=2), now)] == ["just now", "2 h ago"]
    assert date(now) == "2026-11-25 14:00 UTC"


# ------------------------------------------------------------------ diffs

DIFF = b"""diff --git a/clerk/tools.py b/clerk/tools.py
index 1..2 100644
--- a/clerk/tools.py
+++ b/clerk/tools.py
@@ -1,3 +1,4 @@
 a
---- b
++++ c
+d
 e
diff --git a/new.py b/new.py
new file mode 100644
--- /dev/null
+++ b/new.py
@@ -0,0 +1,2 @@
+x
+y
diff --git a/gone.py b/gone.py
--- a/gone.py
+++ /dev/null
@@ -1 +0,0 @@
-z
"""


def test_lines_that_look_like_headers_are_counted_as_what_they_are() -> None:
    assert files_of(DIFF) == (
        FileLine(path="clerk/tools.py", added=2, removed=1),
        FileLine(path="new.py", added=2, removed=0),
        FileLine(path="gone.py", added=0, removed=1),
    )


@given(st.binary(max_size=300) | st.lists(st.sampled_from(DIFF.split(b"\n")), max_size=30).map(b"\n".join))
def test_any_bytes_are_counted_without_an_error(data: bytes) -> None:
    for one in files_of(data):
        assert one.added >= 0
        assert one.removed >= 0
        assert "\x1b" not in one.path
