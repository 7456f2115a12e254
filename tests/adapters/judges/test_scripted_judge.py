"""The scripted juror, alone and as a pair before the rule that may end a run."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.adapters.judges.scripted import ScriptedJudge, iteration_of
from moss.domain.batch import Batch, GroupBy
from moss.domain.case import Case, CaseKind, Keypoint, Status
from moss.domain.evidence import Observed, Turn
from moss.domain.ids import BatchId, CaseId, FailureId, Key
from moss.domain.proof import LimitVote
from moss.domain.votes import limit_of, quote_found
from moss.errors import ModelDown, UserError
from moss.ports import Vote

AT = datetime(2026, 11, 25, tzinfo=UTC)
SEEN = "I cannot look at pictures"


def batch() -> Batch:
    turn = Turn(session="s", ordinal=1, at=AT, user="What is on this picture?", reply=SEEN)
    point = Keypoint(id="ok", says="answers", check=Status(), positive=True, observed=Observed.HTTP)
    case = Case(id=CaseId("c"), kind=CaseKind.FAILURE, source=FailureId("s#1"), turn=turn, keypoints=(point,))
    return Batch(id=BatchId("b"), substrate="x", group_by=GroupBy.FINGERPRINT, label="l", sealed_at=AT, cases=(case,))


def juror(folder: Path, script: object, name: str = "ada") -> ScriptedJudge:
    path = folder / f"{name}.json"
    path.write_text(script if isinstance(script, str) else json.dumps(script))
    return ScriptedJudge(name, path)


def test_it_votes_by_iteration_and_finds_the_rest_fixable(tmp_path: Path) -> None:
    judge = juror(tmp_path, {"votes": [{"iteration": 2, "says": "limit_model", "because": "blind", "quote": SEEN}]})
    assert judge.limits(batch(), (), Key("ev-01/2/evaluate/1")) == Vote("ada", "limit_model", "blind", SEEN)
    assert judge.limits(batch(), (), Key("ev-01+1/1/evaluate/1.2")).says == "fixable"


def test_a_vote_without_an_iteration_is_for_all(tmp_path: Path) -> None:
    judge = juror(tmp_path, {"votes": [{"says": "limit_architecture"}]})
    assert {judge.limits(batch(), (), Key(f"ev-01/{n}/evaluate/1")).says for n in (1, 5)} == {"limit_architecture"}


def test_it_marks_a_sentence_by_the_record(tmp_path: Path) -> None:
    levels = [
        {"sentence": "is kind", "when": "sorry", "level": 3, "quote": "sorry"},
        {"sentence": "is kind", "level": 0},
    ]
    judge = juror(tmp_path, {"levels": levels})
    assert judge.level("is kind", "I am sorry", Key("k")) == (3, "sorry")
    assert judge.level("is kind", "no.", Key("k")) == (0, "")
    with pytest.raises(ModelDown, match="no level for 'is brief'"):
        judge.level("is brief", "no.", Key("k"))


@pytest.mark.parametrize(
    ("quotes", "ends"),
    [
        ((SEEN, SEEN), "limit_model"),
        ((SEEN, ""), None),
        ((SEEN, "I cannot see anything at all"), None),
        ((SEEN,), None),
    ],
)
def test_only_a_pair_with_quotes_from_the_evidence_ends_a_run(
    tmp_path: Path, quotes: tuple[str, ...], ends: str | None
) -> None:
    votes = []
    for name, quote in zip(("ada", "bo"), quotes, strict=False):
        judge = juror(tmp_path, {"votes": [{"says": "limit_model", "quote": quote}]}, name)
        said = judge.limits(batch(), (), Key("ev-01/1/evaluate/1"))
        votes.append(LimitVote(juror=said.juror, says=said.says, quote_found=quote_found(said.quote, batch())))
    assert limit_of(votes) == ends


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("nonsense", "Invalid JSON"),
        ({"votes": [{"says": "maybe"}]}, r"votes\.0\.says"),
        ({"levels": [{"level": 4}]}, r"levels\.0\.level"),
        ({"unknown": 1}, "unknown"),
        (" " * (2 << 20), "larger than"),
    ],
)
def test_a_broken_script_is_one_sentence_with_its_place(tmp_path: Path, script: object, says: str) -> None:
    with pytest.raises(UserError, match=says) as refused:
        juror(tmp_path, script)
    assert "ada.json" in str(refused.value)


def test_a_missing_script_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        ScriptedJudge("ada", tmp_path / "none.json")


@given(st.text())
def test_any_key_names_an_iteration_or_none(key: str) -> None:
    assert (iteration_of(Key(key)) or 0) >= 0
