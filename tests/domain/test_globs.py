"""Path patterns of `moss.toml`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.domain.globs import matches


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("**", "a"),
        ("**", "a/b/c.py"),
        ("clerk/**", "clerk/tools.py"),
        ("clerk/**", "clerk/a/b.py"),
        ("**/*.py", "a.py"),
        ("**/*.py", "x/y/a.py"),
        ("*.py", "a.py"),
        ("a/*/c", "a/b/c"),
        ("a/**/c", "a/c"),
        ("a/**/c", "a/b/b/c"),
        ("a?.py", "ab.py"),
        ("[ab].py", "a.py"),
        ("[!ab].py", "c.py"),
        ("[a-c].py", "b.py"),
        ("./a.py", "a.py"),
        ("a+(b).py", "a+(b).py"),
        ("[z-a].py", "[z-a].py"),
    ],
)
def test_what_fits(pattern: str, path: str) -> None:
    assert matches(path, ("nothing", pattern))


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("clerk/**", "clerk"),
        ("clerk/**", "clerks/a.py"),
        ("clerk/**", "x/clerk/a.py"),
        ("*.py", "a/b.py"),
        ("a/*/c", "a/b/b/c"),
        ("a?c", "a/c"),
        ("a[!x]c", "a/c"),
        ("A.py", "a.py"),
        ("a.py", "aXpy"),
        ("[ab", "a"),
        ("", "a"),
    ],
)
def test_what_does_not_fit(pattern: str, path: str) -> None:
    assert not matches(path, (pattern,))


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_pattern_breaks_the_matcher(pattern: str, path: str) -> None:
    assert matches(path, (pattern,)) in (True, False)


@given(st.text(alphabet=st.characters(exclude_characters="*?["), min_size=1, max_size=20))
def test_a_plain_pattern_fits_itself(path: str) -> None:
    assert matches(path.removeprefix("./"), (path,))
