"""The first table of design 7: each cell a test named after it. n is 3 throughout."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.domain.case import Level
from moss.domain.ids import CaseId
from moss.domain.standing import (
    Fix,
    Held,
    Tally,
    admitted,
    baseline_needs,
    better,
    fix,
    gain,
    held,
    reproduces,
    tallies,
    worse,
)
from moss.testing.proofs import BASE, trials, version

N = 3


def tally(word: str, levels: dict[str, Level] | None = None) -> Tally:
    return tallies(trials("c", BASE, word, levels), BASE).get(CaseId("c"), Tally())


@pytest.mark.parametrize(
    ("word", "decided", "needs"),
    [
        ("", None, 3),
        ("ff", None, 3),
        ("ffx", None, 3),
        ("fff", True, None),
        ("ffp", False, None),
        ("ppp", False, None),
    ],
)
def test_replayed_case_reproduces_when_it_fails_n_of_n(word: str, decided: bool | None, needs: int | None) -> None:
    assert reproduces(tally(word), N) is decided
    if needs is not None:
        assert baseline_needs(tally(word), N) == needs


@pytest.mark.parametrize(
    ("word", "decided", "needs"),
    [
        ("PP", None, 3),
        ("PPF", True, None),
        ("PPP", None, 6),
        ("PPPPP", None, 6),
        ("PPPPPF", True, None),
        ("PPPPPP", False, None),
        ("PPPPPPF", False, None),
        ("pPf", True, None),
    ],
)
def test_live_case_reproduces_when_it_fails_once_in_n_then_in_2n(
    word: str, decided: bool | None, needs: int | None
) -> None:
    assert reproduces(tally(word), N) is decided
    if needs is not None:
        assert baseline_needs(tally(word), N) == needs


def test_trials_that_are_added_later_never_undo_a_reproduced_case() -> None:
    assert reproduces(tally("fffppp"), N) is True


@pytest.mark.parametrize(
    ("word", "decided"),
    [("", None), ("pp", None), ("ppp", True), ("PPP", True), ("f", False), ("PPF", False), ("PPPF", True)],
)
def test_guard_is_admitted_when_it_passes_n_of_n_on_the_live_version(word: str, decided: bool | None) -> None:
    assert admitted(tally(word), N) is decided


@pytest.mark.parametrize(
    ("word", "fixed"),
    [
        ("pp", Fix.UNDECIDED),
        ("ppx", Fix.UNDECIDED),
        ("f", Fix.UNDECIDED),
        ("ppp", Fix.FIXED),
        ("xppp", Fix.FIXED),
        ("ppf", Fix.NOT_FIXED),
        ("pppppppppf", Fix.NOT_FIXED),
    ],
)
def test_replayed_case_is_fixed_when_it_passes_n_of_n(word: str, fixed: Fix) -> None:
    assert fix(tally(word), N) is fixed


@pytest.mark.parametrize(
    ("word", "fixed"),
    [
        ("PP", Fix.UNDECIDED),
        ("PPP", Fix.FIXED),
        ("PPF", Fix.UNDECIDED),
        ("PPPP", Fix.UNDECIDED),  # it goes on: nothing between n and 3 n decides
        ("PFF", Fix.NOT_FIXED),  # 7 of 9 would be below 80 % whatever comes
        ("PPPPPPPPF", Fix.FIXED),  # 8 of 9
        ("PPPPPPPFF", Fix.NOT_FIXED),  # 7 of 9
        ("PPPPPPPPPPPFFF", Fix.NOT_FIXED),
        ("ppPPPPPPF", Fix.FIXED),
        ("PPPPPPPPf", Fix.NOT_FIXED),  # failed with every answer recorded
    ],
)
def test_live_case_is_fixed_when_it_passes_80_percent_sampled_up_to_3n(word: str, fixed: Fix) -> None:
    assert fix(tally(word), N) is fixed


def test_the_candidate_must_pass_more_often_than_the_live_version_over_the_batch() -> None:
    fixed = (tally("PPP"), tally("FFF"))
    assert gain([fixed], N) == (False, pytest.approx(1 / 10))
    assert gain([fixed] * 3, N) == (True, pytest.approx(1 / 1000))
    assert gain([(tally("P" * 9), tally("F" * 9))], N)[0]


def test_the_second_look_waits_for_every_case_that_may_be_fixed() -> None:
    whole, half = (tally("P" * 9), tally("F" * 9)), (tally("PPP"), tally("PPPFFF"))
    assert not gain([whole, half], N)[0]
    assert gain([whole, (tally("FFF"), tally("FFF"))], N)[0]


def test_the_second_look_has_what_the_first_left_of_the_error_rate() -> None:
    shown, p = gain([(tally("PPPPPPPPF"), tally("FPPPFFFFF"))], N)
    assert not shown
    assert p == pytest.approx(0.043, abs=1e-3)
    assert gain([(tally("PPPPPPPPF"), tally("FPPFFFFFF"))], N)[0]


def test_exactly_80_percent_is_enough() -> None:
    assert fix(tally("P" * 12 + "FFF"), 5) is Fix.FIXED
    assert fix(tally("P" * 11 + "FFFF"), 5) is Fix.NOT_FIXED
    assert fix(tally("PPFFF"), 5) is Fix.UNDECIDED


def test_exactly_half_of_the_trials_break_a_guard() -> None:
    assert held(tally("PPPFFF"), tally("PPFFFF"), 2) is Held.BROKEN
    assert held(tally("PPPPFF"), tally("PPFFFF"), 2) is Held.SHAKY


def test_failures_that_chose_a_case_are_no_evidence_for_the_candidate() -> None:
    """Eight cases that fail by bad luck once, and pass when asked again, show nothing."""
    assert gain([(tally("PPP"), tally("FPP"))] * 8, N) == (False, 1.0)
    assert gain([(tally("PPP"), tally("PPPPPF"))] * 8, N) == (False, 1.0)


@pytest.mark.parametrize(
    ("candidate", "live", "standing"),
    [
        ("pp", "ppp", Held.UNDECIDED),
        ("ppp", "ppp", Held.HELD),
        ("ppf", "ppp", Held.BROKEN),
        ("pppf", "ppp", Held.BROKEN),
    ],
)
def test_replayed_guard_is_broken_when_it_fails_once(candidate: str, live: str, standing: Held) -> None:
    assert held(tally(candidate), tally(live), N) is standing


@pytest.mark.parametrize(
    ("candidate", "live", "standing"),
    [
        ("PPP", "PPP", Held.HELD),
        ("PPF", "PPP", Held.UNDECIDED),
        ("PPFPPPPPP", "PPP", Held.UNDECIDED),
        ("PPF", "PPPPPPPPP", Held.UNDECIDED),
        ("PPFPPPPPP", "PPPPPPPPP", Held.SHAKY),
        ("PPFPPPPPF", "PPPPPPPPP", Held.SHAKY),  # 2 of 9 against 0 of 9: p 0.24
        ("PFFPPPPFF", "PPPPPPPPP", Held.BROKEN),  # 4 of 9 against 0 of 9: p 0.041
        ("PFFPPPPFF", "PPPPPPPPF", Held.SHAKY),
        ("PFFFFFPPP", "PPPFFFFFF", Held.BROKEN),  # fails in half of them, whatever the live version does
        ("FFFFF", "PPP", Held.BROKEN),  # 5 of 9 at least
        ("PPf", "PPP", Held.BROKEN),  # failed with every answer recorded
    ],
)
def test_live_guard_is_broken_after_extension_to_3n_on_both(candidate: str, live: str, standing: Held) -> None:
    assert held(tally(candidate), tally(live), N) is standing


def test_a_case_is_worse_in_a_replayed_world_when_one_keypoint_fell() -> None:
    live = tally("ff", {"a": Level.STRONG, "b": Level.MISSING})
    lower = tally("ff", {"a": Level.WEAK, "b": Level.STRONG})
    assert worse(lower, live, ("a", "b"))
    assert better(lower, live, ("a", "b"))
    assert not worse(live, live, ("a", "b"))
    assert not better(live, live, ("a", "b"))


def test_a_case_is_worse_in_a_live_world_only_beyond_chance() -> None:
    live = tally("FFFFF", {"a": Level.ADEQUATE, "b": Level.MISSING})
    lost = {"a": Level.WEAK, "b": Level.MISSING}
    assert not worse(tally("F", lost), live, ("a", "b"))
    assert worse(tally("FFFFF", lost), live, ("a", "b"))
    assert worse(tally("FFFFF"), tally("PPPPP"), ())


def test_a_higher_rate_is_better_even_where_the_worst_trial_is_the_same() -> None:
    assert better(tally("PFF"), tally("FFF"), ("k",))
    assert not better(tally("FFF"), tally("FFF"), ("k",))


def test_a_trial_that_does_not_mark_a_keypoint_counts_as_missing() -> None:
    assert tally("pp").worst("unheard") is Level.MISSING
    assert tally("").worst("k") is None


def test_trials_of_another_version_and_repeated_keys_do_not_count() -> None:
    mine = trials("c", BASE, "fp")
    seen = tallies((*mine, *mine, *trials("c", version(7), "ppp")), BASE)[CaseId("c")]
    assert (seen.valid, seen.passed) == (2, 1)
    assert tallies(mine, None) == {}


WORDS = st.text("pfPFx", max_size=12)


@given(WORDS, st.randoms(use_true_random=False))
def test_the_order_of_trials_is_irrelevant(word: str, random: object) -> None:
    mixed = list(trials("c", BASE, word))
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert tallies(mixed, BASE).get(CaseId("c"), Tally()) == tally(word)


@given(WORDS, WORDS)
def test_invalid_trials_never_count(candidate: str, live: str) -> None:
    clean, clean_live = tally(candidate.replace("x", "")), tally(live.replace("x", ""))
    assert fix(tally(candidate), N) is fix(clean, N)
    assert held(tally(candidate), tally(live), N) is held(clean, clean_live, N)
    assert reproduces(tally(live), N) is reproduces(clean_live, N)


@given(WORDS, WORDS)
def test_one_more_failure_never_mends_a_broken_guard(candidate: str, live: str) -> None:
    if held(tally(candidate), tally(live), N) is Held.BROKEN:
        assert held(tally(candidate + "F"), tally(live), N) is Held.BROKEN
