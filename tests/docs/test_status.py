"""The page that says what is proven names tests that exist, and says of everything else that it is missing."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

PAGE = ROOT / "docs" / "status.md"
CONFORMANCE = sorted((ROOT / "moss" / "testing" / "conformance").glob("*.py"))
ROWS = [
    tuple(cell.strip() for cell in line.split("|"))
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| promise |", "| line |"))
]


@cache
def defined(path: Path) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    """What a file defines: functions and classes at its top, and the methods of each class."""
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    top = frozenset(node.name for node in tree.body if isinstance(node, kinds))
    methods = {
        node.name: frozenset(one.name for one in node.body if isinstance(one, kinds))
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    return top, methods


def exists(test: str) -> bool:
    """Whether `tests/file.py::Class::name` is there; a class may have its tests from a conformance suite."""
    file, *names = test.split("::")
    path = ROOT / file
    if not path.is_file():
        return False
    top, methods = defined(path)
    match names:
        case []:
            return any(name.startswith(("test_", "Test")) for name in top)
        case [name]:
            return name in top
        case [owner, name]:
            suites = [body for suite in CONFORMANCE for body in defined(suite)[1].values()]
            return owner in top and any(name in body for body in (methods[owner], *suites))
        case _:
            return False


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[^`]+)`", PAGE.read_text())
    assert len(named) > 80
    gone = [test for test in named if not exists(test)]
    assert not gone, "docs/status.md names tests that are not there: name those that prove it now, or say it is missing"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1][:40])
def test_every_line_names_its_tests_or_what_is_missing(row: tuple[str, ...]) -> None:
    _, line, proven, missing, _ = row
    assert line
    assert missing, "say what is missing, or —"
    assert "`tests/" in proven or missing != "—", "nothing proves it: say that it is missing"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`((?:tests|moss|docs|scripts|examples)/[\w./:-]*)`", page.read_text())
    for name in named:
        if not re.search(r"KIND|NAME|NNN", name):
            assert exists(name) if "::" in name else (ROOT / name).exists(), f"{name} is not there"


def test_each_promise_of_the_readme_has_its_line() -> None:
    promises = re.findall(r"^(\d)\. \*\*(\w[\w ]*)\.\*\*", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert len(promises) == 5
    lines = [row[1] for row in ROWS]
    assert [f"{number} {name}" for number, name in promises] == lines[:5]
