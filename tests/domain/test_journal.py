"""The chain: an entry's hash covers everything that it says and everything before it."""

from datetime import UTC, datetime, timedelta

import pytest

from moss.domain.ids import Digest, RunId
from moss.domain.journal import GENESIS, chain

AT = datetime(2026, 1, 1, tzinfo=UTC)
PLAIN = (GENESIS, RunId("ev-01"), 1, AT, {"kind": "started", "by": "alice"})


def test_the_same_entry_has_the_same_hash() -> None:
    assert chain(*PLAIN) == chain(*PLAIN)
    assert chain(GENESIS, RunId("ev-01"), 1, AT, {"by": "alice", "kind": "started"}) == chain(*PLAIN)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, Digest("sha256:" + "1" * 64)),
        (1, RunId("ev-02")),
        (2, 2),
        (3, AT + timedelta(microseconds=1)),
        (4, {"kind": "started", "by": "mallory"}),
    ],
)
def test_whatever_changes_changes_the_hash(place: int, value: object) -> None:
    other = list(PLAIN)
    other[place] = value
    assert chain(*other) != chain(*PLAIN)  # type: ignore[arg-type]
