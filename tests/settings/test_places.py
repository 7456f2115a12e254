"""Where a key stands in the text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.settings.places import line_of

TEXT = '''\
title = "a"
[a]
b = 1
c.d = 2
"e f" = """
[not.a.table]
x = 1
""" # [a.g]
arr = [
  "[a.h]",
  { k = 1 },
]
[a.z]
y = 1 # = 2
[[l]]
m = 1
[[l]]
m = 2
[[l.n]]
o = 1
[ q . 'r s' ] # comment
t = """x""" + """
u = 1
"""
v = 1
"\\u0041" = 1
"\\x" = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 1),
        (("a",), 2),
        (("a", "b"), 3),
        (("a", "c", "d"), 4),
        (("a", "e f"), 5),
        (("not",), None),
        (("a", "x"), 2),
        (("a", "arr", 1, "k"), 9),
        (("a", "z", "y"), 14),
        (("l", 0, "m"), 16),
        (("l", 1, "m"), 18),
        (("l", 1, "n", 0, "o"), 20),
        (("l", 7, "m"), 15),
        (("q", "r s", "t"), 22),
        (("q", "r s", "u"), 21),
        (("q", "r s", "v"), 25),
        (("q", "r s", "A"), 26),
        ((), None),
    ],
)
def test_a_key_is_found_on_its_line(path: tuple[str | int, ...], line: int | None) -> None:
    assert line_of(TEXT, path) == line


@given(st.text() | st.text("[]\"'=.#\n ab{}"), st.lists(st.text("ab", max_size=2) | st.integers(0, 2), max_size=3))
def test_no_text_makes_it_raise(text: str, path: list[str | int]) -> None:
    line = line_of(text, path)
    assert line is None or 1 <= line <= text.count("\n") + 1
