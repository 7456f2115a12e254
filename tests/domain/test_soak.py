"""The soak's sequential test: back at once when it is bad, patient when it is rare."""

import pytest

from moss.domain.soak import ALPHA, worse


def test_nothing_seen_or_nothing_recurred_is_never_worse() -> None:
    assert worse(0, 0, 100, 50) is None
    assert worse(1000, 0, 100, 50) is None
    assert worse(0, 3, 100, 50) is None


def test_one_recurrence_of_many_good_turns_is_no_reason_to_go_back() -> None:
    assert worse(50, 1, 100, 50) is None


@pytest.mark.parametrize(("turns", "recurred"), [(2, 2), (4, 3)])
def test_a_failure_that_comes_as_often_as_before_is_worse(turns: int, recurred: int) -> None:
    said = worse(turns, recurred, 100, 50)
    assert said == f"the failure came back in {recurred} of {turns} turns, before in 50 of 100"


def test_a_failure_that_was_never_counted_before_has_a_floor() -> None:
    assert worse(1, 1, 0, 0) is None
    assert worse(2, 2, 0, 0) is not None


def test_looking_after_every_turn_keeps_the_error_rate() -> None:
    """A version at a tenth of the old failure rate is taken back in at most 5 % of all courses: exactly summed."""
    before, turns = 0.5, 40
    after = before / 10
    alive, taken = {0: 1.0}, 0.0
    for seen in range(1, turns + 1):
        step: dict[int, float] = {}
        for recurred, chance in alive.items():
            for more, rate in ((0, 1 - after), (1, after)):
                if worse(seen, recurred + more, 100, 50):
                    taken += chance * rate
                else:
                    step[recurred + more] = step.get(recurred + more, 0.0) + chance * rate
        alive = step
    assert taken <= ALPHA * 1.1
