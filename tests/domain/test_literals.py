"""Expected answers: which they are, and that they are not shown."""

import pytest

from moss.domain.case import Check, Contains, FileOnVolume, Grader, JsonPath, Regex, Status, ToolCalled
from moss.domain.literals import absent_from, literals_of, masked


@pytest.mark.parametrize(
    ("check", "texts"),
    [
        (Contains(text="refunded once"), ["refunded once"]),
        (Contains(text="error", absent=True), []),
        (Regex(pattern="refunded once"), ["refunded once"]),
        (Regex(pattern=r"refunded \d+ times"), []),
        (Regex(pattern="sorry", absent=True), []),
        (JsonPath(path="a.b", equals="forty-two"), ["forty-two"]),
        (JsonPath(path="a.b", equals=42), []),
        (FileOnVolume(path="x", contains="the report"), ["the report"]),
        (FileOnVolume(path="x"), []),
        (ToolCalled(tool="refund", matching="A-1001"), ["A-1001"]),
        (Grader(name="g", argv=("grade",), arguments=("A-1001", "40.00")), ["A-1001", "40.00"]),
        (Status(), []),
    ],
)
def test_what_a_check_demands(check: Check, texts: list[str]) -> None:
    assert list(literals_of(check)) == texts


def test_what_the_base_holds_was_not_copied_in() -> None:
    assert absent_from(["refunded once", "the report"], ["x = 'the report'", ""]) == ("refunded once",)


def test_answers_are_masked_but_for_very_short_ones() -> None:
    assert masked("say 'refunded once' or ok", ["refunded once", "ok"]) == "say '[expected text]' or ok"
