"""The sizes of style: measured on the product's own code, so that nobody has to remember them."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "moss").rglob("*.py"))
BODIES = [path for path in FILES if path.read_text().strip()]


def lines(path: Path) -> int:
    return path.read_text().count("\n")


def functions() -> Iterator[tuple[str, int]]:
    """Each function with its length in lines, docstring apart."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                size = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", size


def test_no_file_is_longer_than_400_lines_and_the_median_is_150() -> None:
    long = {str(path.relative_to(ROOT)): lines(path) for path in FILES if lines(path) > 400}
    assert not long, "split these files"
    assert median(lines(path) for path in BODIES if path.name != "__init__.py") <= 150


def test_functions_are_short() -> None:
    sizes = dict(functions())
    assert not {name: size for name, size in sizes.items() if size > 60}, "split these functions"
    assert median(sizes.values()) <= 10
    assert quantiles(sizes.values(), n=20)[18] <= 40


def test_every_module_opens_with_what_it_owns() -> None:
    bare = [str(path.relative_to(ROOT)) for path in BODIES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not bare


def test_names_are_the_words_of_the_design() -> None:
    vague = ("Manager", "Helper", "Util", "Handler", "Service", "Info")
    named = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.endswith(vague)
    ]
    assert not named
