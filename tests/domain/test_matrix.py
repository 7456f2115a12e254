"""The keypoint matrix: worst levels, words and the guards' line, as the review prints them."""

from datetime import UTC, datetime

from moss.domain.case import Case, CaseKind, Keypoint, Level, Status
from moss.domain.evidence import Observed, Turn
from moss.domain.ids import CaseId
from moss.domain.matrix import GuardColumn, Matrix, matrix
from moss.domain.proof import Proof
from moss.testing.proofs import BASE, GUARDS, STANDARD, iteration, many, proof, trials, version

AT = datetime(2026, 1, 1, tzinfo=UTC)


def case(name: str, *points: str) -> Case:
    turn = Turn(session="s", ordinal=1, at=AT, user="u")
    marked = tuple(
        Keypoint(id=point, says=f"{point} is done", check=Status(), positive=True, observed=Observed.HTTP)
        for point in points or ("k",)
    )
    return Case(id=CaseId(name), kind=CaseKind.FAILURE, source=turn.id, turn=turn, keypoints=marked)


def words(shown: Matrix) -> dict[str, str]:
    return {row.case: row.word for row in shown.rows if row.word}


def test_a_cell_is_the_level_at_the_worst_valid_trial() -> None:
    live = many(BASE, GUARDS) + trials("a", BASE, "fff", {"k": Level.WEAK, "j": Level.STRONG})
    made = iteration(1, {"a": "xppp"})
    bad = iteration(2, {}).model_copy(
        update={"trials": trials("a", version(2), "ppf", {"k": Level.ADEQUATE, "j": Level.MISSING})}
    )
    shown = matrix(
        Proof((CaseId("a"),), tuple(map(CaseId, GUARDS)), BASE, STANDARD, live, (made, bad)), [case("a", "k", "j")]
    )
    assert shown.columns == ("live", "it-1", "it-2")
    assert [row.levels for row in shown.rows] == [
        (Level.WEAK, Level.STRONG, Level.ADEQUATE),
        (Level.STRONG, Level.MISSING, Level.MISSING),
    ]
    assert [row.says for row in shown.rows] == ["k is done", "j is done"]


def test_a_version_without_a_valid_trial_has_no_level() -> None:
    shown = matrix(
        proof({"a": "fff"}, iteration(1, {"a": "xx"}), iteration(2, {"a": "ppp"}, build_ok=False)), [case("a")]
    )
    assert shown.rows[0].levels == (Level.MISSING, None, None)


def test_only_reproduced_cases_have_rows() -> None:
    shown = matrix(proof({"a": "fff", "b": "ppp"}), [case("a"), case("b")])
    assert [row.case for row in shown.rows] == ["a"]
    assert (shown.columns, words(shown)) == (("live",), {})


def test_a_case_has_one_word_on_its_first_row() -> None:
    weak = trials("d", BASE, "fff", {"k": Level.WEAK})
    plain = proof({"a": "fff", "b": "fff", "c": "fff"}, iteration(1, {"a": "ppp", "b": "pff", "c": "fff", "d": "fff"}))
    made = Proof((*plain.cases, CaseId("d")), plain.guards, BASE, STANDARD, (*plain.live, *weak), plain.iterations)
    shown = matrix(made, [case(name, "k", "j") for name in "abcd"])
    assert words(shown) == {"a": "fixed", "b": "better", "d": "worse"}
    assert len(shown.rows) == 8


def test_the_guards_line_reads_as_in_the_review() -> None:
    six = {f"g{k}": "ppp" for k in range(1, 7)}
    shown = matrix(proof({"a": "fff"} | six, iteration(1, {"a": "ppp"} | six), guards=tuple(six)), [case("a")])
    assert [str(column) for column in shown.guards.columns] == ["6/6", "6/6"]
    assert shown.guards.words == "0 broken (turns like these: below 39 %)"


def test_broken_shaky_and_untried_guards_are_told_apart() -> None:
    four = GUARDS | {"g4": "ppp"}
    live = {"a": "fff"} | four | {"g2": "P" * 9}
    tried = {"a": "ppp", "g1": "ppf", "g2": "PPPPPPPPF", "g3": "ppp", "g4": "p"}
    shown = matrix(proof(live, iteration(1, tried), guards=tuple(four)), [case("a")])
    assert shown.guards.columns == (GuardColumn(held=4, of=4), GuardColumn(held=2, of=3))
    assert shown.guards.words.startswith("1 broken, 1 shaky (turns like these: below 98 %")


def test_before_any_trial_of_a_candidate_no_bound_is_claimed() -> None:
    assert matrix(proof({"a": "fff"}), [case("a")]).guards.words == "0 broken"
    refused = matrix(proof({"a": "fff"}, iteration(1, {}, policy_ok=False)), [case("a")])
    assert (refused.guards.words, str(refused.guards.columns[1])) == ("0 broken", "0/0")
