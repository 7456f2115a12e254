"""The example of the format's page is a line of the format."""

import re
from pathlib import Path

from moss.adapters.evidence.line import read_line, write_line
from moss.domain.cases import MOST_EXPECTED, parse_expect
from moss.domain.detect import BUILTIN
from moss.domain.evidence import Turn

PAGE = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text()


def test_the_example_is_read_and_written_again_as_it_stands() -> None:
    line = re.findall(r"^\{\"v\":1.*$", PAGE, re.MULTILINE)[0].encode()
    turn = read_line(line)
    assert turn.tools[0].name == "refund"
    assert read_line(write_line(turn)) == turn
    assert list(Turn.model_fields)[:6] == ["session", "ordinal", "at", "user", "reply", "tools"]


def test_each_key_and_each_detector_is_on_the_page() -> None:
    keys = set(Turn.model_fields) - {"recording", "redacted"}
    assert [key for key in keys if f"| `{key}` |" not in PAGE] == []
    assert [name for name in BUILTIN if f"| `{name}` |" not in PAGE] == []
    assert MOST_EXPECTED == 5


def test_each_form_of_an_expectation_on_the_page_is_one() -> None:
    for form in ("file:PATH", "contains:TEXT", "regex:PATTERN", "status:200", "tool:NAME", "json:PATH=VALUE"):
        assert f"`{form}`" in PAGE
        parse_expect(form)
