"""Owns the contract of `moss.ports.EvidenceSource` as tests. Subclass `EvidenceSourceContract`, give it a `stand`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from moss.domain.evidence import ToolCall, Turn
from moss.errors import UserError
from moss.ports import Cursor, EvidenceSource, Scan
from moss.testing.samples import NOON

SIGNALS = (b'"error"',)
KEY = "sk-live-51H8sKqzTn2WvXc9RfGbYhUjMkLpQaZ"
MAIL = "grace.hopper@navy.example.org"


class Stand(ABC):
    """A source with an agent that writes beside it."""

    source: EvidenceSource
    root: Path

    @abstractmethod
    def write(self, *turns: Turn) -> None:
        """What the agent does at the end of each turn."""

    def as_read(self, turn: Turn) -> Turn:
        """A written turn as the source gives it: what the agent does not keep is not there."""
        return turn

    @abstractmethod
    def spoil(self, session: str, ordinal: int) -> None:
        """Makes one written turn unreadable."""

    @abstractmethod
    def mend(self, session: str, ordinal: int) -> None:
        """Takes `spoil` back."""

    @abstractmethod
    def lock(self, locked: bool) -> None:
        """Makes the whole unreadable, or readable again."""

    def scan(self, cursors: dict[str, Cursor], most: int | None = None) -> list[Scan]:
        """The pieces of a scan (the first `most`), whose cursors are kept as a store would."""
        pieces: list[Scan] = []
        for piece in self.source.scan(self.root, dict(cursors), SIGNALS):
            if most is not None and len(pieces) >= most:
                break
            pieces.append(piece)
            cursors.update({cursor.session: cursor for cursor in piece.cursors})
        return pieces


def said(session: str, ordinal: int, *, failed: bool = False, **more: object) -> Turn:
    tool = ToolCall(name="find", arguments="{}", result="" if failed else "ok", error="timeout" if failed else None)
    turn = Turn(
        session=session,
        ordinal=ordinal,
        at=NOON + timedelta(minutes=ordinal),
        user=f"question {ordinal}",
        reply=f"answer {ordinal}",
        tools=(tool,),
        status=200,
        finish="stop",
    )
    return turn.model_copy(update=more)


def ids(pieces: Sequence[Scan]) -> list[str]:
    return [turn.id for piece in pieces for turn in piece.turns]


def failed(pieces: Sequence[Scan]) -> list[str]:
    return [turn.id for piece in pieces for turn in piece.turns if any(tool.error for tool in turn.tools)]


class EvidenceSourceContract:
    """What every source of evidence does."""

    def test_a_new_turn_is_given_exactly_once(self, stand: Stand) -> None:
        stand.write(said("s1", 1), said("s1", 2, failed=True))
        cursors: dict[str, Cursor] = {}
        assert failed(stand.scan(cursors)) == ["s1#2"]
        assert ids(stand.scan(cursors)) == []
        stand.write(said("s1", 3, failed=True), said("s2", 1, failed=True))
        assert sorted(failed(stand.scan(cursors))) == ["s1#3", "s2#1"]

    def test_all_turns_and_sessions_are_counted_whether_given_or_not(self, stand: Stand) -> None:
        stand.write(*(said(f"s{session}", ordinal) for session in range(3) for ordinal in range(1, 41)))
        pieces = stand.scan({})
        assert sum(piece.counted for piece in pieces) == 120
        assert sum(piece.sessions for piece in pieces) == 3

    def test_turns_that_went_well_come_as_candidate_guards(self, stand: Stand) -> None:
        stand.write(*(said("s1", ordinal) for ordinal in range(1, 31)))
        assert ids(stand.scan({}))

    def test_each_failing_turn_is_given_in_order_however_many_there_are(self, stand: Stand) -> None:
        stand.write(*(said("s1", ordinal, failed=ordinal % 3 == 0) for ordinal in range(1, 601)))
        assert failed(stand.scan({})) == [f"s1#{ordinal}" for ordinal in range(3, 601, 3)]

    def test_a_scan_that_was_killed_goes_on_behind_the_last_piece(self, stand: Stand) -> None:
        stand.write(*(said(f"s{session}", 1, failed=True) for session in range(20)))
        cursors: dict[str, Cursor] = {}
        first, rest = failed(stand.scan(cursors, most=1)), failed(stand.scan(cursors))
        assert first
        assert rest
        assert sorted(first + rest) == sorted(f"s{session}#1" for session in range(20))

    def test_the_past_of_a_turn_is_its_own_session_oldest_first(self, stand: Stand) -> None:
        for ordinal in range(1, 8):
            stand.write(said("s1", ordinal), said("s2", ordinal))
        found = stand.source.history(stand.root, "s1", 6, 3)
        assert [turn.id for turn in found] == ["s1#3", "s1#4", "s1#5"]
        assert [turn.id for turn in stand.source.history(stand.root, "s1", 3, 12)] == ["s1#1", "s1#2"]
        assert list(stand.source.history(stand.root, "s1", 1, 12)) == []
        assert list(stand.source.history(stand.root, "nobody", 5, 12)) == []
        assert list(stand.source.history(stand.root, "s1", 5, 0)) == []

    def test_a_small_state_is_read_whole(self, stand: Stand) -> None:
        stand.write(said("s2", 1), said("s1", 1), said("s1", 2, failed=True))
        assert [turn.id for turn in stand.source.turns(stand.root)] == ["s1#1", "s1#2", "s2#1"]
        written = [said("s1", 1), said("s1", 2, failed=True)]
        assert stand.source.turns(stand.root, "s1") == [stand.as_read(turn) for turn in written]
        assert list(stand.source.turns(stand.root, "s9")) == []

    def test_no_secret_leaves_by_any_way(self, stand: Stand) -> None:
        leaky = ToolCall(name="login", arguments=f'{{"key": "{KEY}"}}', result=f"hi {MAIL}", error=f"denied for {KEY}")
        stand.write(said("s1", 1, user=f"I am {MAIL}", reply=f"use {KEY}", tools=(leaky,), error=f"bad {KEY}"))
        stand.write(said("s1", 2, failed=True))
        scanned = next(turn for piece in stand.scan({}) for turn in piece.turns if turn.ordinal == 1)
        before = stand.source.history(stand.root, "s1", 2, 1)[0]
        whole = stand.source.turns(stand.root)[0]
        for turn in (scanned, before, whole):
            text = turn.model_dump_json()
            assert KEY not in text
            assert MAIL not in text
            assert turn.redacted >= 4
        assert scanned == before == whole

    def test_a_session_named_by_a_secret_keeps_its_past(self, stand: Stand) -> None:
        stand.write(said(MAIL, 1), said(MAIL, 2, failed=True))
        turn = next(turn for piece in stand.scan({}) for turn in piece.turns if turn.ordinal == 2)
        assert turn.session != MAIL
        assert [one.id for one in stand.source.history(stand.root, turn.session, 2, 5)] == [f"{turn.session}#1"]

    def test_an_unreadable_turn_is_refused_each_time_and_given_when_it_is_mended(self, stand: Stand) -> None:
        stand.write(said("s1", 1, failed=True), said("s1", 2, failed=True), said("s1", 3, failed=True))
        stand.spoil("s1", 2)
        cursors: dict[str, Cursor] = {}
        pieces = stand.scan(cursors)
        assert failed(pieces) == ["s1#1", "s1#3"]
        refused = [item for piece in pieces for item in piece.rejected]
        assert len(refused) == 1
        assert "timeout" not in refused[0].because + refused[0].where
        assert [item for piece in stand.scan(cursors) for item in piece.rejected] == refused
        stand.mend("s1", 2)
        pieces = stand.scan(cursors)
        assert failed(pieces) == ["s1#2"]
        assert sum(piece.counted for piece in pieces) == 1
        assert ids(stand.scan(cursors)) == []

    def test_what_cannot_be_read_never_passes_for_empty(self, stand: Stand) -> None:
        stand.write(said("s1", 1, failed=True))
        stand.lock(True)
        cursors: dict[str, Cursor] = {}
        with pytest.raises(UserError):
            stand.scan(cursors)
        assert cursors == {}
        told = stand.source.check(stand.root)
        assert not told.ok
        assert told.mend
        stand.lock(False)
        assert failed(stand.scan(cursors)) == ["s1#1"]
        assert stand.source.check(stand.root).ok

    def test_cursors_of_another_source_do_no_harm(self, stand: Stand) -> None:
        stand.write(said("s1", 1, failed=True))
        strange: Mapping[str, Cursor] = {"elsewhere": Cursor("elsewhere", "17:")}
        assert failed(list(stand.source.scan(stand.root, strange, SIGNALS))) == ["s1#1"]
