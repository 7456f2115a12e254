"""The keypoint matrix as people see it: worst levels, where each case stands, the guards as one line."""

from dataclasses import replace
from datetime import UTC, datetime

from moss.api.screens import guards_words
from moss.domain import verdict
from moss.domain.batch import Batch, GroupBy
from moss.domain.case import Case, CaseKind, Keypoint, Level, Status
from moss.domain.events import BuildResult, CheckResult, Version
from moss.domain.evidence import Observed, Turn
from moss.domain.grid import Matrix
from moss.domain.ids import BatchId, CaseId, CommitId
from moss.domain.matrix import matrix
from moss.domain.proof import IterationProof, Proof
from moss.domain.run import Iteration, Run
from moss.testing.proofs import BASE, GUARDS, STANDARD, iteration, many, proof, trials, version
from tests.domain.play import Play, started

AT = datetime(2026, 1, 1, tzinfo=UTC)


def case(name: str, *points: str) -> Case:
    turn = Turn(session="s", ordinal=1, at=AT, user="u")
    marked = tuple(
        Keypoint(id=point, says=f"{point} is done", check=Status(), positive=True, observed=Observed.HTTP)
        for point in points or ("k",)
    )
    return Case(id=CaseId(name), kind=CaseKind.FAILURE, source=turn.id, turn=turn, keypoints=marked)


def batch(*cases: Case) -> Batch:
    return Batch(
        id=BatchId("b-01"), substrate="clerk", group_by=GroupBy.FINGERPRINT, label="l", sealed_at=AT, cases=cases
    )


def run_of(of: Proof) -> Run:
    """A run whose record is that proof."""
    began = Play().begin(
        started(
            cases=of.cases,
            guards=of.guards,
            base=Version(commit=CommitId("0" * 40), image=of.base, name="clerk:base"),
        )
    )
    return began.model_copy(
        update={
            "baseline": verdict.baseline(of),
            "trials": (*of.live, *(trial for one in of.iterations for trial in one.trials)),
            "iterations": tuple(map(made, of.iterations)),
        }
    )


def made(one: IterationProof) -> Iteration:
    image = Version(commit=CommitId("c"), image=one.version, name="clerk:c") if one.version and one.build_ok else None
    return Iteration(
        number=one.iteration,
        start=CommitId("0" * 40),
        added=one.diff_lines,
        build=BuildResult(version=image) if one.policy_ok else None,
        check=CheckResult(ok=one.check_ok),
    )


def seen(of: Proof, *cases: Case) -> Matrix:
    return matrix(run_of(of), batch(*cases))


def test_a_cell_is_the_level_at_the_worst_valid_trial() -> None:
    live = many(BASE, GUARDS) + trials("a", BASE, "fff", {"k": Level.WEAK, "j": Level.STRONG})
    good = iteration(1, {"a": "xppp"})
    bad = iteration(2, {}).model_copy(
        update={"trials": trials("a", version(2), "ppf", {"k": Level.ADEQUATE, "j": Level.MISSING})}
    )
    guards = tuple(map(CaseId, GUARDS))
    shown = seen(Proof((CaseId("a"),), guards, BASE, STANDARD, live, (good, bad)), case("a", "k", "j"))
    assert shown.columns == ("live", "it-1", "it-2")
    assert [(row.says, *row.cells) for row in shown.rows] == [
        ("k is done", "weak", "strong", "adequate"),
        ("j is done", "strong", "missing", "missing"),
    ]


def test_a_version_without_a_valid_trial_has_no_level_and_one_that_was_not_built_no_column() -> None:
    shown = seen(proof({"a": "fff"}, iteration(1, {"a": "xx"}), iteration(2, {}, build_ok=False)), case("a"))
    assert shown.columns == ("live", "it-1")
    assert shown.rows[0].cells == ("missing", "-")


def test_only_reproduced_cases_have_rows() -> None:
    shown = seen(proof({"a": "fff", "b": "ppp"}), case("a"), case("b"))
    assert ([row.case for row in shown.rows], shown.left_out) == (["a"], ("b",))
    assert (shown.columns, [row.standing for row in shown.rows]) == (("live",), [""])


def test_a_case_says_where_it_stands_in_the_last_column() -> None:
    live = {"a": "fff", "b": "fff", "c": "fff"}
    shown = seen(proof(live, iteration(1, {"a": "ppp", "b": "pff", "c": "p"})), *map(case, "abc"))
    assert {row.case: row.standing for row in shown.rows} == {"a": "fixed", "b": "not fixed", "c": "undecided"}


def test_the_mark_stands_beside_what_failed_on_the_live_version_and_nowhere_else() -> None:
    levels = {"said": Level.STRONG, "done": Level.MISSING}
    tried = iteration(1, {}, trials=(*many(version(1), GUARDS), *trials("a", version(1), "ppp", levels)))
    live = (*many(BASE, GUARDS), *trials("a", BASE, "fff", levels))
    shown = seen(replace(proof({"a": "fff"}, tried), live=live), case("a", "said", "done"))
    assert [(row.keypoint, *row.cells, row.mark) for row in shown.rows] == [
        ("said", "strong", "strong", ""),
        ("done", "missing", "strong", "fixed"),
    ]


def test_without_its_batch_a_keypoint_is_told_by_its_id() -> None:
    shown = matrix(run_of(proof({"a": "fff"})), None)
    assert [(row.case, row.says) for row in shown.rows] == [("a", "k")]


def test_the_guards_line_reads_as_in_the_review() -> None:
    six = {f"g{k}": "ppp" for k in range(1, 7)}
    shown = seen(proof({"a": "fff"} | six, iteration(1, {"a": "ppp"} | six), guards=tuple(six)), case("a"))
    assert shown.guards_ok == ("6/6", "6/6")
    assert guards_words(shown) == "0 broken (turns like these: below 39 %)"


def test_broken_and_shaky_guards_are_told_apart_and_both_count_in_the_bound() -> None:
    four = GUARDS | {"g4": "ppp"}
    live = {"a": "fff"} | four | {"g2": "P" * 9}
    tried = {"a": "ppp", "g1": "ppf", "g2": "PPPPPPPPF", "g3": "ppp", "g4": ""}
    shown = seen(proof(live, iteration(1, tried), guards=tuple(four)), case("a"))
    assert shown.guards_ok == ("4/4", "1/3")
    assert guards_words(shown) == "1 broken, 1 shaky (turns like these: below 98 %)"


def test_before_any_trial_of_a_candidate_no_bound_is_claimed() -> None:
    assert guards_words(seen(proof({"a": "fff"}), case("a"))) == ""
    refused = seen(proof({"a": "fff"}, iteration(1, {}, policy_ok=False)), case("a"))
    assert (refused.below, refused.columns) == (None, ("live",))
