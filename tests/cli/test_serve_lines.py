"""What `moss serve` prints of its log: when, what it is about, a sentence. No name from inside."""

from datetime import UTC, datetime
from inspect import getmembers, iscoroutinefunction

import pytest

from moss.cli.serve import LOOPS, told_of
from moss.engine.serve import Serve

AT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"run": "ev-01", "stage": "plan_review"}, "ev-01 plan review: accepted"),
        ({"loop": "_keep_alive"}, "gateway and live agent: accepted"),
        ({"loop": "_of_a_later_day"}, "moss serve: accepted"),
        ({}, "accepted"),
        ({"run": "ev-01", "stage": "accepted"}, "ev-01 accepted: accepted"),
        ({"run": "ev\x1b[2J"}, "ev\\x1b[2J: accepted"),
    ],
)
def test_a_line_names_what_it_is_about_in_words(event: dict[str, object], line: str) -> None:
    when, _, rest = told_of(event, "accepted", AT).partition(" ")
    assert (len(when), rest) == (8, line)


def test_a_stage_is_not_said_twice() -> None:
    assert told_of({"run": "ev-01", "stage": "soak"}, "soak over", AT).endswith("ev-01 soak: over")


def test_every_loop_has_a_name_for_people() -> None:
    loops = {name for name, _ in getmembers(Serve, iscoroutinefunction)} - {"run", "_loop", "_drive"}
    assert loops == set(LOOPS)
