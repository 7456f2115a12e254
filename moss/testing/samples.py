"""Owns small, plain evidence for tests: turns, failures, guards and batches. Never anything that depends on time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from moss.domain.batch import Batch, GroupBy
from moss.domain.case import Case, CaseKind, Keypoint, Status
from moss.domain.evidence import Failure, Finding, Guard, Observed, ToolCall, Turn
from moss.domain.ids import BatchId, CaseId, Digest, Fingerprint

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def turn(session: str = "s1", ordinal: int = 1, *, user: str | None = "u1", recording: Digest | None = None) -> Turn:
    """One turn; turns of a higher ordinal are a minute later each."""
    return Turn(
        session=session,
        ordinal=ordinal,
        at=NOON + timedelta(minutes=ordinal),
        user=f"refund order {ordinal}",
        reply="done",
        tools=(ToolCall(name="refund", arguments=f'{{"order": {ordinal}}}', result="ok"),),
        status=200,
        user_id=user,
        recording=recording,
    )


def failure(
    session: str = "s1", ordinal: int = 1, fingerprint: str = "refund-twice", user: str | None = "u1"
) -> Failure:
    """A turn on which a tool was called twice."""
    seen = turn(session, ordinal, user=user)
    name = Fingerprint(fingerprint)
    finding = Finding(detector="twice", fingerprint=name, quote=f"refund ran twice for order {ordinal}")
    return Failure(id=seen.id, fingerprint=name, turn=seen, findings=(finding,))


def guard(session: str = "g1", ordinal: int = 1) -> Guard:
    """A turn that went well."""
    seen = turn(session, ordinal)
    return Guard(id=seen.id, turn=seen)


def batch(name: str, failures: Sequence[Failure], *, sealed_at: datetime = NOON) -> Batch:
    """A batch by fingerprint whose cases ask for nothing but status 200."""
    point = Keypoint(id="answers", says="it answers", check=Status(equals=200), positive=True, observed=Observed.HTTP)
    cases = tuple(
        Case(
            id=CaseId(f"case-{place}"),
            kind=CaseKind.FAILURE,
            source=one.id,
            fingerprint=one.fingerprint,
            turn=one.turn,
            keypoints=(point,),
        )
        for place, one in enumerate(failures, 1)
    )
    return Batch(
        id=BatchId(name),
        substrate="clerk",
        group_by=GroupBy.FINGERPRINT,
        label=failures[0].fingerprint,
        sealed_at=sealed_at,
        cases=cases,
    )
