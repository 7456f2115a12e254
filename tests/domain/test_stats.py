"""The figures of the proof against published tables and against brute force."""

from itertools import product
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.domain.stats import Stratum, fails_more_often, more_often, upper_bound


@pytest.mark.parametrize(
    ("broken", "of", "bound"),
    [
        (0, 10, 0.2589),
        (0, 6, 0.3930),
        (0, 3, 0.6316),
        (0, 30, 0.0950),
        # Clopper and Pearson's charts, one-sided 95 % (two-sided 90 %)
        (1, 10, 0.3942),
        (2, 10, 0.5069),
        (5, 10, 0.7776),
        (1, 20, 0.2161),
        (10, 10, 1.0),
        (0, 0, 1.0),
    ],
)
def test_upper_bound_agrees_with_the_tables(broken: int, of: int, bound: float) -> None:
    assert upper_bound(broken, of) == pytest.approx(bound, abs=5e-5)


def test_the_words_of_the_design() -> None:
    assert f"{upper_bound(0, 10):.0%}" == "26%"
    assert f"{upper_bound(0, 6):.0%}" == "39%"


@pytest.mark.parametrize(("broken", "of"), [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(broken: int, of: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        upper_bound(broken, of)


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_at_the_bound_the_seen_count_has_the_error_rate(counts: tuple[int, int]) -> None:
    broken, of = counts
    rate = upper_bound(broken, of)
    seen = sum(comb(of, i) * rate**i * (1 - rate) ** (of - i) for i in range(broken + 1))
    assert seen == pytest.approx(0.05, rel=1e-9)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_the_bound_grows_with_each_break_and_shrinks_with_each_guard(counts: tuple[int, int]) -> None:
    broken, of = counts
    assert upper_bound(broken + 1, of) > upper_bound(broken, of) > upper_bound(broken, of + 1)


@pytest.mark.parametrize(
    ("stratum", "p"),
    [
        # Fisher's lady tasting tea, The Design of Experiments (1935): 4 of 4 right, 3 of 4 right
        (Stratum(4, 4, 0, 4), 1 / 70),
        (Stratum(3, 4, 1, 4), 17 / 70),
        # Fisher's criminal twins, J. R. Stat. Soc. 98 (1935) 39: one-sided p 0.000465
        (Stratum(10, 13, 2, 17), 0.0004652),
        (Stratum(3, 3, 0, 3), 1 / 20),
        (Stratum(0, 3, 3, 3), 1.0),
        (Stratum(3, 3, 3, 3), 1.0),
    ],
)
def test_one_stratum_is_fishers_exact_test(stratum: Stratum, p: float) -> None:
    assert more_often([stratum]) == pytest.approx(p, rel=1e-3)


def test_independent_strata_multiply_where_only_the_extreme_is_left() -> None:
    assert more_often([Stratum(3, 3, 0, 3), Stratum(3, 3, 0, 3)]) == pytest.approx(1 / 400)


def test_without_a_stratum_nothing_is_shown() -> None:
    assert more_often([]) == 1.0


def test_strata_are_not_pooled() -> None:
    """Simpson: each case gets worse, the pooled table would say better."""
    strata = [Stratum(9, 10, 1, 1), Stratum(0, 1, 1, 10)]
    pooled = Stratum(9, 11, 2, 11)
    assert more_often([pooled]) < 0.05 < more_often(strata)


@pytest.mark.parametrize("counts", [(-1, 1, 0, 0), (2, 1, 0, 0), (0, 0, 1, 0), (0, 0, -1, 2)])
def test_a_stratum_refuses_more_passes_than_trials(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Stratum(*counts)


def test_failing_more_often_is_the_same_test_turned_round() -> None:
    assert fails_more_often(Stratum(0, 4, 4, 4)) == pytest.approx(1 / 70)
    assert fails_more_often(Stratum(4, 4, 0, 4)) == 1.0


def _arm(most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.integers(0, most).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


SMALL = st.tuples(_arm(4), _arm(4)).map(lambda arms: Stratum(*arms[0], *arms[1]))


@given(st.lists(SMALL, max_size=2))
def test_p_is_the_share_of_permutations_that_do_as_well(strata: list[Stratum]) -> None:
    draws = [_permutations(stratum) for stratum in strata]
    seen = sum(stratum.candidate_passed for stratum in strata)
    totals = [sum(drawn) for drawn in product(*draws)]
    expected = sum(total >= seen for total in totals) / len(totals)
    assert more_often(strata) == pytest.approx(expected)


def _permutations(stratum: Stratum) -> list[int]:
    """The candidate's passes in every way to choose which of the trials are its own."""
    outcomes = [True] * (stratum.candidate_passed + stratum.live_passed)
    outcomes += [False] * (stratum.candidate_trials + stratum.live_trials - len(outcomes))
    chosen = [mask for mask in product((False, True), repeat=len(outcomes)) if sum(mask) == stratum.candidate_trials]
    return [sum(o for o, mine in zip(outcomes, mask, strict=True) if mine) for mask in chosen]


@given(_arm(6), _arm(6))
def test_the_test_keeps_its_error_rate_under_the_null(one: tuple[int, int], other: tuple[int, int]) -> None:
    """Over all tables with the same totals, p <= 0.05 has probability at most 0.05."""
    n, m, passed = one[1], other[1], one[0] + other[0]
    rejected = sum(
        comb(passed, x) * comb(n + m - passed, n - x)
        for x in range(max(0, passed - m), min(passed, n) + 1)
        if more_often([Stratum(x, n, passed - x, m)]) <= 0.05
    )
    assert rejected / comb(n + m, n) <= 0.05
