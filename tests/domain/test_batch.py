"""Cases and batches as values: what a case must have, what a batch is known by."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from moss.domain.batch import Batch, GroupBy
from moss.domain.case import Case, CaseKind, Contains, Keypoint, Status
from moss.domain.evidence import Observed, Turn
from moss.domain.frozen import canonical, digest
from moss.domain.ids import BatchId, CaseId, FailureId, Fingerprint

AT = datetime(2026, 1, 1, tzinfo=UTC)
OUTSIDE = Keypoint(id="answers", says="answers", check=Status(), positive=True, observed=Observed.HTTP)


def case(name: str, *points: Keypoint, kind: CaseKind = CaseKind.FAILURE, of: str | None = "f") -> Case:
    turn = Turn(session="s", ordinal=1, at=AT, user="hello")
    return Case(
        id=CaseId(name),
        kind=kind,
        source=turn.id,
        fingerprint=Fingerprint(of) if of else None,
        turn=turn,
        keypoints=points or (OUTSIDE,),
    )


def batch(*cases: Case, guards: tuple[Case, ...] = ()) -> Batch:
    return Batch(
        id=BatchId("b-01"),
        substrate="clerk",
        group_by=GroupBy.FINGERPRINT,
        label="f",
        sealed_at=AT,
        cases=cases,
        guards=guards,
    )


@pytest.mark.parametrize(
    "change", [{"positive": False}, {"observed": Observed.TRANSCRIPT}, {"check": Contains(text="x"), "positive": False}]
)
def test_a_case_needs_a_positive_keypoint_seen_from_outside(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="no positive keypoint is observed from outside"):
        case("c", OUTSIDE.model_copy(update=change))


def test_one_outside_keypoint_is_enough() -> None:
    inside = OUTSIDE.model_copy(update={"id": "told", "observed": Observed.TRANSCRIPT})
    assert len(case("c", inside, OUTSIDE).keypoints) == 2


def test_a_batch_names_each_fingerprint_once_in_order() -> None:
    made = batch(case("a", of="x"), case("b", of=None), case("c", of="y"), case("d", of="x"))
    assert made.fingerprints == ("x", "y")


def test_the_evidence_hash_changes_with_any_case_or_guard() -> None:
    plain = batch(case("a"))
    assert batch(case("a")).evidence == plain.evidence
    others = [batch(case("b")), batch(case("a"), guards=(case("g"),)), batch(case("a"), case("b"))]
    assert len({plain.evidence, *(other.evidence for other in others)}) == 4


def test_a_turn_is_known_by_its_session_and_ordinal() -> None:
    assert Turn(session="s-4411", ordinal=7, at=AT, user="u").id == FailureId("s-4411#7")


def test_a_value_is_written_in_one_form_and_read_back() -> None:
    made = batch(case("ä"))
    assert Batch.model_validate_json(canonical(made)) == made
    shuffled = dict(reversed(json.loads(canonical(made)).items()))
    assert digest(shuffled) == digest(made)


def test_a_number_without_a_json_form_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"x": float("nan")})


def test_an_unknown_key_is_refused_and_nothing_can_be_changed() -> None:
    with pytest.raises(ValidationError, match="extra"):
        Status.model_validate({"kind": "status", "equal": 200})
    with pytest.raises(ValidationError, match="frozen"):
        OUTSIDE.positive = False  # type: ignore[misc]
