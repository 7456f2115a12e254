"""The second table of design 7: each row a test named after it, then what must hold for every proof."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moss.domain.case import Level
from moss.domain.proof import IterationProof, LimitVote, Proof, Rules, guards_needed
from moss.domain.verdict import Next, Verdict, VerdictKind, Wanted, baseline, best, judge
from moss.testing.proofs import (
    BASE,
    DEEP,
    GUARDS,
    LIGHT,
    STANDARD,
    diverged,
    iteration,
    many,
    opened,
    proof,
    trials,
    version,
)

BROKE = Rules(trials=3, iterations=5, plateau=2, budget_left=False)
LIVE = {"a": "fff", "b": "fff", "c": "fff"}
NONE = {"a": "fff", "b": "fff", "c": "fff"}
TWO = {"a": "ppp", "b": "ppp", "c": "fff"}
ALL = {"a": "ppp", "b": "ppp", "c": "ppp"}


def partial_levels(number: int, level: Level) -> IterationProof:
    """An iteration that fixes nothing and brings the keypoint of case a to a level."""
    plain = iteration(number, {"b": "fff", "c": "fff"})
    return plain.model_copy(update={"trials": (*plain.trials, *trials("a", version(number), "fff", {"k": level}))})


# ------------------------------------------------------------------ row 1


def test_row_1_too_few_valid_trials_and_budget_left_asks_for_more() -> None:
    said = judge(proof(LIVE, iteration(1, ALL | {"b": "px", "g2": "pp"})))
    assert (said.row, said.kind, said.next) == (1, None, Next.TRIALS)
    assert set(said.wanted) == {
        Wanted(case="b", version=version(1), more=2),
        Wanted(case="g2", version=version(1), more=1),
    }


def test_row_1_without_budget_is_out_of_budget() -> None:
    said = judge(proof(LIVE, iteration(1, ALL | {"b": "pp"}), rules=BROKE))
    assert (said.row, said.kind, said.next, said.wanted) == (1, None, Next.OUT_OF_BUDGET, ())


def test_row_1_a_case_that_is_invalid_again_and_again_is_not_paid_for() -> None:
    down = LIVE | {"b": "fff" + "x" * 9}
    assert judge(proof(down, iteration(1, ALL | {"b": "x" * 9}))).next is Next.TRIALS
    said = judge(proof(down, iteration(1, ALL | {"b": "x" * 10})))
    assert said.next is Next.OUT_OF_BUDGET
    assert "10 trials of b were invalid" in said.reason


def test_row_1_before_invalid_trials_are_held_against_a_candidate_the_live_version_is_tried_again() -> None:
    said = judge(proof(LIVE, iteration(1, ALL | {"b": "xxx"})))
    assert (said.next, said.wanted) == (Next.TRIALS, (Wanted(case="b", version=BASE, more=3),))
    levelled = judge(proof(LIVE | {"b": "fffxxx"}, iteration(1, ALL | {"b": "xxx"})))
    assert levelled.wanted == (Wanted(case="b", version=version(1), more=3),)
    said = judge(proof(LIVE, iteration(1, ALL | {"b": "xxppp"})))
    assert (said.row, said.numbers.invalid) == (3, 2)


def test_row_1_live_trials_that_are_invalid_for_ever_end_the_asking() -> None:
    candidate = iteration(
        1, {"a": ""}, trials=(*many(version(1), GUARDS), *diverged(2, trials("a", version(1), "PPP")))
    )
    shaky = proof({"a": "fff"}, candidate)
    said = judge(replace(shaky, live=(*shaky.live, *opened(2, trials("a", BASE, "x" * 10)))))
    assert (said.next, "10 trials of a were invalid" in said.reason) == (Next.OUT_OF_BUDGET, True)


def test_a_candidate_that_makes_its_trials_invalid_has_not_fixed_the_case_and_is_told_so() -> None:
    said = judge(proof(LIVE | {"b": "ffffff"}, iteration(1, ALL | {"b": "xxxppp"})))
    assert (said.row, said.next, said.fixed, said.unfixed) == (5, Next.ITERATE, ("a", "c"), ("b",))
    assert "trials of b are invalid that are valid on the live version" in said.reason
    assert any("b: 3 trials gave no result" in line for line in said.feedback)
    assert (said.numbers.invalid, said.numbers.invalid_live) == (3, 0)
    last = judge(proof(LIVE | {"b": "ffffff"}, iteration(1, ALL | {"b": "xxxppp"}), rules=Rules(3, 1, 1)))
    assert (last.row, last.next) == (6, Next.NO_IMPROVEMENT), "not even in part: it makes b worse"


def test_a_candidate_that_makes_guards_invalid_has_broken_them() -> None:
    asked = judge(proof(LIVE, iteration(1, ALL | {"g1": "xxx"})))
    assert (asked.next, asked.wanted) == (Next.TRIALS, (Wanted(case="g1", version=BASE, more=3),))
    said = judge(proof(LIVE | {"g1": "pppppp"}, iteration(1, ALL | {"g1": "xxxppp"})))
    assert (said.row, said.numbers.broken) == (2, 1)
    assert "of 1 turns that went well before, 3 trials gave no result" in said.feedback[0]
    assert not any("g1" in line for line in said.feedback)


def test_a_candidate_that_leaves_the_recording_is_compared_with_the_live_version_in_that_world() -> None:
    """A replay that fails n of n is one sample: with a real model the live version may pass as often."""
    three = dict.fromkeys("abc", "fff")
    tried = [one for case in three for one in diverged(2, trials(case, version(1), "PPP"))]
    candidate = iteration(1, {}, trials=(*many(version(1), GUARDS), *tried))
    first = judge(proof(three, candidate))
    assert set(first.wanted) == {Wanted(case=case, version=BASE, more=3, live_from=2) for case in three}

    def beside(word: str) -> Proof:
        plain = proof(three, candidate)
        return replace(
            plain, live=(*plain.live, *(one for case in three for one in opened(2, trials(case, BASE, word))))
        )

    lucky = judge(beside("PPP"))
    assert (lucky.next, lucky.fixed, lucky.numbers.p) == (Next.TRIALS, (), pytest.approx(1.0))
    assert {(one.version, one.live_from) for one in lucky.wanted} == {(version(1), None), (BASE, 2)}
    proven = judge(beside("fff"))
    assert (proven.row, proven.next, proven.fixed) == (3, Next.CONSENT, ("a", "b", "c"))


def test_a_guard_that_failed_outside_the_recording_is_compared_in_that_world() -> None:
    tried = (*trials("a", version(1), "ppp"), *diverged(1, trials("g1", version(1), "PPF")))
    candidate = iteration(1, {}, trials=(*many(version(1), {"g2": "ppp", "g3": "ppp"}), *tried))
    assert judge(proof({"a": "fff"}, candidate)).wanted == (Wanted(case="g1", version=BASE, more=3, live_from=1),)


def test_row_1_a_live_case_that_failed_once_is_sampled_to_3n_on_the_candidate() -> None:
    said = judge(proof({"a": "FFF"}, iteration(1, {"a": "PPF"})))
    assert said.wanted == (Wanted(case="a", version=version(1), more=6),)


def test_row_1_a_live_case_without_enough_evidence_is_sampled_to_3n_on_both() -> None:
    said = judge(proof({"a": "FFF"}, iteration(1, {"a": "PPP"})))
    assert said.numbers.p == pytest.approx(1 / 10)
    assert set(said.wanted) == {
        Wanted(case="a", version=version(1), more=6),
        Wanted(case="a", version=BASE, more=6),
    }


def test_row_1_a_live_guard_that_failed_is_sampled_to_3n_on_both() -> None:
    said = judge(proof({"a": "fff"}, iteration(1, {"a": "ppp", "g1": "PPF"})))
    assert set(said.wanted) == {
        Wanted(case="g1", version=version(1), more=6),
        Wanted(case="g1", version=BASE, more=6),
    }


def test_row_1_nothing_more_is_paid_for_once_a_guard_broke() -> None:
    said = judge(proof({"a": "FFF"}, iteration(1, {"a": "PPF", "g1": "ppf"})))
    assert said.row == 2


# ------------------------------------------------------------------ row 2

REFUSED = [
    ({"policy_ok": False, "refusals": ("writes Dockerfile",)}, "writes Dockerfile"),
    ({"build_ok": False, "version": None, "refusals": ("it does not build: SyntaxError",)}, "SyntaxError"),
    ({"check_ok": False, "refusals": ("its own check fails: test_a",)}, "test_a"),
    ({"check_ok": False}, "refuse it"),
    ({"commit": None, "version": None}, "no candidate"),
    ({"diff_lines": 0}, "changes nothing"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_row_2_policy_build_or_check_is_never_offered(changes: dict[str, object], reason: str) -> None:
    said = judge(proof(LIVE, iteration(1, ALL, **changes)))
    assert (said.row, said.kind, said.next) == (2, VerdictKind.NEED_MORE_WORK, Next.ITERATE)
    assert reason in said.reason
    assert said.chosen is None
    assert set(changes.get("refusals", ())) <= set(said.feedback)  # type: ignore[call-overload]


def test_row_2_a_broken_guard_is_counted_in_the_feedback_and_never_named() -> None:
    said = judge(proof(LIVE, iteration(1, ALL | {"g2": "ppf"})))
    assert (said.row, said.next, said.numbers.broken) == (2, Next.ITERATE, 1)
    assert "1 of 3 guards broken" in said.reason
    assert said.feedback == ("1 turns that went well before fail with this change: keep all other behaviour as it was",)


def test_row_2_an_image_that_is_the_live_one_changes_nothing() -> None:
    same = iteration(1, ALL, version=BASE, trials=many(BASE, ALL | GUARDS))
    assert "changes nothing" in judge(proof(LIVE, same)).reason


def test_row_2_too_few_guards_hold_on_the_live_version() -> None:
    said = judge(proof({"a": "fff", "g3": "ppf"}, iteration(1, {"a": "ppp"})))
    assert said.row == 2
    assert "2 guards hold on the live version, 3 are needed" in said.reason
    assert (guards_needed(1), guards_needed(3), guards_needed(14)) == (3, 3, 14)


def test_row_2_goes_on_at_a_plateau_but_not_after_the_last_iteration() -> None:
    refused = [iteration(number, ALL, policy_ok=False) for number in (1, 2, 3)]
    assert judge(proof(LIVE, refused[0], rules=LIGHT)).next is Next.ITERATE
    assert judge(proof(LIVE, *refused, rules=LIGHT)).next is Next.NO_IMPROVEMENT


# ------------------------------------------------------------------ row 3


def test_row_3_every_reproduced_case_fixed_is_converged() -> None:
    said = judge(proof(LIVE | {"d": "ppp"}, iteration(1, ALL)))
    assert (said.row, said.kind, said.next, said.chosen) == (3, VerdictKind.CONVERGED, Next.CONSENT, 1)
    assert (said.partial, said.fixed, said.unfixed) == (False, ("a", "b", "c"), ())
    assert said.reason == "3 of 3 fixed, 0 of 3 guards broken"
    assert (said.numbers.cases, said.numbers.valid, said.numbers.p) == (3, 18, None)


def test_row_3_in_a_live_world_it_takes_the_p_of_the_batch() -> None:
    said = judge(proof(dict.fromkeys("abc", "FFF"), iteration(1, dict.fromkeys("abc", "PPP"))))
    assert (said.row, said.numbers.p) == (3, pytest.approx(1 / 1000))


def test_row_3_one_live_case_converges_after_3n_with_80_percent() -> None:
    said = judge(proof({"a": "FFFFFFFFF"}, iteration(1, {"a": "PPPPPPPPF"})))
    assert said.row == 3


def test_row_3_flaky_cases_are_not_fixed_by_doing_nothing() -> None:
    live = dict.fromkeys("abc", "FPPPPPPPP")
    said = judge(proof(live, iteration(1, dict.fromkeys("abc", "PPPPPPPPP"))))
    assert (said.kind, said.next, said.numbers.fixed) == (VerdictKind.NEED_MORE_WORK, Next.ITERATE, 0)


def test_row_3_a_shaky_guard_is_shown_and_counts_in_the_bound() -> None:
    said = judge(proof(LIVE | {"g1": "P" * 9}, iteration(1, ALL | {"g1": "PPPPPPPPF"})))
    assert (said.row, said.shaky, said.numbers.shaky) == (3, ("g1",), 1)
    assert said.numbers.breakage_below == pytest.approx(0.8647, abs=1e-4)


# ------------------------------------------------------------------ row 4


def vote(juror: str, says: str = "limit_model", quote_found: bool = True) -> LimitVote:
    return LimitVote.model_validate({"juror": juror, "says": says, "quote_found": quote_found})


@pytest.mark.parametrize(
    ("says", "kind", "following"),
    [
        ("limit_model", VerdictKind.FUNDAMENTAL_LIMIT_MODEL, Next.LIMIT_MODEL),
        ("limit_architecture", VerdictKind.FUNDAMENTAL_LIMIT_ARCHITECTURE, Next.LIMIT_ARCHITECTURE),
    ],
)
def test_row_4_two_jurors_with_quotes_end_the_run(says: str, kind: VerdictKind, following: Next) -> None:
    said = judge(proof(LIVE, iteration(1, NONE), votes=(vote("x", says), vote("y", says), vote("z", "fixable"))))
    assert (said.row, said.kind, said.next, said.chosen) == (4, kind, following, None)


@pytest.mark.parametrize(
    "votes",
    [
        (vote("x"),),
        (vote("x"), vote("x")),
        (vote("x"), vote("y", quote_found=False)),
        (vote("x"), vote("y", "limit_architecture")),
        (vote("x"), vote("y"), vote("y", "fixable")),
        (vote("x", "fixable"), vote("y", "fixable")),
    ],
)
def test_row_4_a_single_unquoted_or_torn_vote_ends_nothing(votes: tuple[LimitVote, ...]) -> None:
    assert judge(proof(LIVE, iteration(1, NONE), votes=votes)).row == 5


TWO_VOTES = (vote("x"), vote("y"))


def test_row_4_waits_for_a_full_iteration() -> None:
    assert judge(proof(LIVE, iteration(1, NONE, policy_ok=False), votes=TWO_VOTES)).row == 2


@pytest.mark.parametrize(
    "iterations",
    [
        (iteration(1, NONE | {"a": "ffp"}),),
        (iteration(1, TWO), iteration(2, NONE)),
        (partial_levels(1, Level.WEAK),),
        (iteration(1, TWO | {"g1": "ppf"}), iteration(2, NONE)),
    ],
)
def test_row_4_does_not_hold_once_any_case_was_better(iterations: tuple[IterationProof, ...]) -> None:
    rules = Rules(trials=3, iterations=5, plateau=3)
    assert judge(proof(LIVE, *iterations, votes=TWO_VOTES, rules=rules)).row == 5


def test_row_4_anyway_goes_on() -> None:
    rules = Rules(trials=3, iterations=5, plateau=2, anyway=True)
    assert judge(proof(LIVE, iteration(1, NONE), votes=TWO_VOTES, rules=rules)).row == 5


def test_row_4_a_vote_never_promotes_and_never_stops_what_converged() -> None:
    assert judge(proof(LIVE, iteration(1, ALL), votes=TWO_VOTES)).row == 3


# ------------------------------------------------------------------ row 5


def test_row_5_iterations_left_and_no_plateau_needs_more_work() -> None:
    said = judge(proof(LIVE, iteration(1, TWO)))
    assert (said.row, said.kind, said.next) == (5, VerdictKind.NEED_MORE_WORK, Next.ITERATE)
    assert (said.fixed, said.unfixed, said.start_from) == (("a", "b"), ("c",), 1)
    assert said.feedback == ("c: passed 0 of 3 trials", "c: k is missing: seen")


def test_row_5_the_next_iteration_starts_from_the_best_commit_so_far() -> None:
    worse = iteration(1, NONE)
    assert judge(proof(LIVE, worse)).start_from is None
    assert judge(proof(LIVE, worse, iteration(2, TWO))).start_from == 2
    assert judge(proof(LIVE, worse, iteration(2, TWO), iteration(3, NONE))).start_from == 2
    fixed = judge(proof(LIVE, worse, iteration(2, TWO), iteration(3, ALL)))
    assert (fixed.row, fixed.chosen) == (3, 3)


def test_row_5_what_row_2_forbids_is_no_start() -> None:
    said = judge(proof(LIVE, iteration(1, ALL | {"g1": "ppf"}), iteration(2, NONE | {"a": "ppp"})))
    assert said.start_from == 2


def test_row_5_a_case_that_got_worse_is_in_the_feedback() -> None:
    live = proof({"a": "fff"}).live
    strong = tuple(one for one in live if one.case != "a") + trials("a", BASE, "fff", {"k": Level.WEAK})
    said = judge(
        Proof(
            cases=("a",),
            guards=tuple(GUARDS),
            base=BASE,
            rules=STANDARD,
            live=strong,
            iterations=(iteration(1, {"a": "fff"}),),
        )
    )
    assert "a: worse than before this change" in said.feedback


# ------------------------------------------------------------------ row 6


@pytest.mark.parametrize(("rules", "after"), [(LIGHT, 1), (STANDARD, 2), (Rules(trials=3, iterations=8, plateau=3), 3)])
def test_row_6_plateau_ends_without_improvement_at_each_depth(rules: Rules, after: int) -> None:
    words = dict.fromkeys(LIVE, "f" * rules.trials)
    history = [iteration(number, words) for number in range(1, after + 1)]
    for length in range(1, after):
        assert judge(proof(LIVE, *history[:length], rules=rules)).row == 5
    said = judge(proof(LIVE, *history, rules=rules))
    assert (said.row, said.kind, said.next) == (6, VerdictKind.NEED_MORE_WORK, Next.NO_IMPROVEMENT)
    assert f"no better score in {after} iterations" in said.reason


def test_row_6_the_best_iteration_is_offered_in_part() -> None:
    said = judge(
        proof(LIVE, iteration(1, NONE), iteration(2, TWO), iteration(3, NONE | {"a": "ppp"}), iteration(4, NONE))
    )
    assert (said.row, said.kind, said.next) == (6, VerdictKind.CONVERGED, Next.CONSENT)
    assert (said.partial, said.chosen, said.iteration) == (True, 2, 4)
    assert (said.fixed, said.unfixed) == (("a", "b"), ("c",))
    assert said.reason == "no better score in 2 iterations: iteration 2 is the best, 2 of 3 fixed"


def test_row_6_the_last_iteration_of_deep_is_the_eighth() -> None:
    words = [dict(zip("abcdefgh", ["p" * 5] * k + ["f" * 5] * (8 - k), strict=True)) for k in range(9)]
    guards = {f"g{k}": "p" * 5 for k in range(1, 9)}
    history = [iteration(k, words[k] | guards) for k in range(1, 8)]
    live = words[0] | guards
    assert judge(proof(live, *history, rules=DEEP, guards=tuple(guards))).row == 5
    last = iteration(8, words[7] | guards)
    said = judge(proof(live, *history, last, rules=DEEP, guards=tuple(guards)))
    assert (said.row, said.chosen, said.reason[:18]) == (6, 7, "the last iteration")


def test_row_6_the_smaller_diff_wins_between_equals_and_the_earlier_between_twins() -> None:
    history = (iteration(1, TWO, diff_lines=9), iteration(2, TWO, diff_lines=4), iteration(3, TWO, diff_lines=4))
    assert judge(proof(LIVE, *history, rules=Rules(3, 3, 3))).chosen == 2


def test_row_6_keypoint_levels_rank_before_the_diff() -> None:
    history = (
        partial_levels(1, Level.ADEQUATE).model_copy(update={"diff_lines": 400}),
        iteration(2, NONE, diff_lines=1),
    )
    found = best(proof(LIVE, *history))
    assert found is not None
    assert found.iteration == 1


def test_row_6_a_best_iteration_that_fixes_nothing_is_no_improvement() -> None:
    said = judge(proof(LIVE, partial_levels(1, Level.WEAK), rules=Rules(3, 1, 1)))
    assert said.next is Next.NO_IMPROVEMENT
    assert said.reason == "the last iteration: the best iteration (1) fixes no case"


def test_row_6_a_best_iteration_that_makes_a_case_worse_is_not_offered() -> None:
    plain = proof({"a": "fff", "b": "fff"}, iteration(1, {"a": "ppp", "b": "fff"}), rules=Rules(3, 1, 1))
    live = tuple(one for one in plain.live if one.case != "b") + trials("b", BASE, "fff", {"k": Level.WEAK})
    said = judge(Proof(plain.cases, plain.guards, BASE, plain.rules, live, plain.iterations))
    assert said.next is Next.NO_IMPROVEMENT
    assert said.reason.endswith("(1) makes b worse")


def test_row_6_what_row_2_forbids_is_not_offered() -> None:
    said = judge(proof(LIVE, iteration(1, ALL | {"g1": "ppf"}), rules=Rules(3, 1, 1)))
    assert (said.row, said.next, said.chosen) == (6, Next.NO_IMPROVEMENT, None)
    assert "no iteration is better than the live version" in said.reason


# ------------------------------------------------------------------ the baseline


def test_baseline_says_what_reproduces_and_which_guards_are_kept() -> None:
    said = baseline(proof(LIVE | {"d": "ppp", "g4": "ppf"}, guards=("g1", "g2", "g3", "g4")))
    assert (said.reproduced, said.not_reproduced) == (("a", "b", "c"), ("d",))
    assert (said.admitted, said.not_admitted) == (("g1", "g2", "g3"), ("g4",))
    assert (said.next, said.reason) == (Next.ITERATE, "3 of 4 failures reproduce on the live version")


def test_baseline_wants_n_and_2n_where_a_real_model_spoke() -> None:
    said = baseline(proof({"a": "f", "b": "PPP", "g1": "pxx"}))
    assert said.next is Next.TRIALS
    assert said.wanted == (
        Wanted(case="a", version=BASE, more=2),
        Wanted(case="b", version=BASE, more=3),
        Wanted(case="g1", version=BASE, more=2),
    )


@pytest.mark.parametrize(
    ("live", "rules", "following"),
    [
        ({"a": "ppp"}, STANDARD, Next.NOT_REPRODUCED),
        ({"a": "fff", "g1": "f"}, STANDARD, Next.FAILED),
        ({"a": "ff"}, BROKE, Next.OUT_OF_BUDGET),
        ({"a": "x" * 10}, STANDARD, Next.OUT_OF_BUDGET),
    ],
)
def test_baseline_may_end_a_run(live: dict[str, str], rules: Rules, following: Next) -> None:
    assert baseline(proof(live, rules=rules)).next is following


def test_without_an_iteration_there_is_nothing_to_judge() -> None:
    with pytest.raises(ValueError, match="no iteration"):
        judge(proof(LIVE))


# ------------------------------------------------------------------ for every proof

WORD = st.text("pfPFx", max_size=9)
NAMES = ("a", "b", "g1", "g2", "g3")
WORDS = st.fixed_dictionaries(dict.fromkeys(NAMES, WORD))
GOOD = st.fixed_dictionaries(
    {name: st.sampled_from(["ppp", "PPP", "PPPPPPPPP", "PPPPPPPPF", "fff", "ffp"]) for name in NAMES}
)


@st.composite
def proofs(draw: st.DrawFn) -> Proof:
    live = draw(st.one_of(GOOD, WORDS, st.just({"a": "fff", "b": "fff"} | GUARDS)))
    count = draw(st.integers(1, 3))
    history = [
        iteration(number, draw(st.one_of(GOOD, WORDS)), diff_lines=draw(st.integers(0, 3)))
        for number in range(1, count + 1)
    ]
    flags = st.sampled_from([{}, {}, {}, {"policy_ok": False}, {"check_ok": False}, {"version": None}])
    history = [one.model_copy(update=draw(flags)) for one in history]
    rules = Rules(3, draw(st.integers(count, 4)), draw(st.integers(1, 3)), draw(st.booleans()))
    votes = draw(st.sampled_from([(), TWO_VOTES]))
    return proof(live, *history, rules=rules, votes=votes)


@given(proofs())
@settings(max_examples=150, deadline=None)
def test_whatever_is_offered_fixed_a_case_and_broke_no_guard(given_: Proof) -> None:
    said = judge(given_)
    if said.next is not Next.CONSENT:
        assert said.chosen is None
        return
    chosen = next(one for one in given_.iterations if one.iteration == said.chosen)
    assert chosen.policy_ok
    assert chosen.build_ok
    assert chosen.check_ok
    assert chosen.diff_lines
    assert said.fixed
    assert said.numbers.broken == 0
    replayed = [one for one in chosen.trials if one.valid and one.world.value == "replayed"]
    assert not [one for one in replayed if not one.passed and one.case in (*said.fixed, "g1", "g2", "g3")]


@given(proofs())
@settings(max_examples=100, deadline=None)
def test_one_more_failed_guard_is_never_offered(given_: Proof) -> None:
    broken = given_.last.model_copy(
        update={"trials": (*given_.last.trials, *trials("g1", given_.last.version or BASE, "fffffffff"))}
    )
    said = judge(Proof(given_.cases, given_.guards, BASE, given_.rules, given_.live, (*given_.iterations[:-1], broken)))
    assert said.chosen != broken.iteration


@given(WORDS, st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_an_unchanged_rebuild_that_does_as_the_live_version_never_converges(live: dict[str, str], lines: int) -> None:
    said = judge(proof(live, iteration(1, live, diff_lines=lines), rules=Rules(3, 1, 1)))
    assert said.next is not Next.CONSENT


@given(proofs(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_trials_does_not_change_a_verdict(given_: Proof, random: object) -> None:
    def mixed(many: tuple[object, ...]) -> tuple[object, ...]:
        copy = list(many)
        random.shuffle(copy)  # type: ignore[attr-defined]
        return tuple(copy)

    history = tuple(one.model_copy(update={"trials": mixed(one.trials)}) for one in given_.iterations)
    other = Proof(given_.cases, given_.guards, BASE, given_.rules, mixed(given_.live), history, given_.votes)  # type: ignore[arg-type]
    assert _essence(judge(other)) == _essence(judge(given_))


def _essence(said: Verdict) -> dict[str, object]:
    return said.model_dump(exclude={"feedback", "wanted"}) | {"wanted": sorted(map(str, said.wanted))}


@given(WORDS, WORDS)
@settings(max_examples=60, deadline=None)
def test_running_what_is_wanted_always_comes_to_a_verdict(live: dict[str, str], words: dict[str, str]) -> None:
    """Whatever the trials show, a bounded number of them decides."""
    for _ in range(20):
        said = baseline(proof(live))
        if said.next is not Next.TRIALS:
            break
        live = {name: _longer(live[name], sum(one.more for one in said.wanted if one.case == name)) for name in NAMES}
    if said.next is not Next.ITERATE:
        assert said.next in (Next.NOT_REPRODUCED, Next.FAILED, Next.OUT_OF_BUDGET)
        return
    for _ in range(20):
        ruled = judge(proof(live, iteration(1, words)))
        if ruled.next is not Next.TRIALS:
            return
        for one in ruled.wanted:
            side = live if one.version == BASE else words
            side[one.case] = _longer(side[one.case], one.more)
    raise AssertionError("it never ends")


def _longer(word: str, more: int) -> str:
    """More trials, in a pattern of their own so that live worlds come to all ends."""
    return word + ("PPPPFPPPPPPP" if len(word) % 2 else "FPPPPPPPPPPP")[:more]
