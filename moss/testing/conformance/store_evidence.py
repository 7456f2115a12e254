"""Owns the half of the store's contract that is about evidence and batches. See `conformance.store` for the whole."""

from dataclasses import replace
from datetime import timedelta

import pytest

from moss.domain.batch import BatchState
from moss.domain.evidence import Failure
from moss.domain.frozen import sha256
from moss.domain.ids import BatchId, Digest, FailureId, Fingerprint, RunId
from moss.errors import Refused
from moss.ports import Cursor, Rejected, Store
from moss.testing.samples import NOON, batch, failure, guard

RUN = RunId("ev-01")
REFUND = Fingerprint("refund-twice")


class EvidenceContract:
    def test_a_piece_of_a_scan_is_stored_once(self, store: Store) -> None:
        found = [failure("s1", 1), failure("s1", 2), failure("s1", 1)]
        at = [Cursor("s1", "120")]
        assert store.save_scan("jsonl", found, [guard()], at, [], NOON, counted=10, sessions=1) == 2
        assert store.save_scan("jsonl", found, [guard()], at, [], NOON) == 0
        assert store.cursors("jsonl") == {"s1": Cursor("s1", "120")}
        assert store.cursors("other") == {}
        assert store.counts() == {"turns": 10, "sessions": 1, "failures": 2, "guards": 1}
        assert store.failure(FailureId("s1#1")) == failure("s1", 1)
        assert store.failure(FailureId("s9#9")) is None
        assert list(store.guards()) == [guard()]
        row = store.fingerprints()[0]
        assert row.seen == 2

    def test_a_failure_is_amended_only_while_it_waits(self, store: Store) -> None:
        seen = failure("s1", 1)
        save(store, seen, failure("s1", 2))
        more = seen.model_copy(update={"expect": ("tool:refund",), "fingerprint": Fingerprint("another")})
        assert store.amend(more)
        kept = store.failure(seen.id)
        assert kept == seen.model_copy(update={"expect": ("tool:refund",)})
        assert [row.seen for row in store.fingerprints()] == [2]
        assert not store.amend(failure("s9", 9))
        store.seal(batch("b-01", [seen]))
        assert not store.amend(seen)
        assert store.failure(seen.id) == kept

    def test_cursors_move_and_refused_items_stay_until_they_are_read(self, store: Store) -> None:
        bad = Rejected("s1", "line 7", "not JSON", Digest(sha256(b"x")))
        worse = replace(bad, where="line 9")
        store.save_scan("jsonl", [], [], [Cursor("s1", "1")], [bad, worse], NOON)
        store.save_scan("jsonl", [], [], [Cursor("s1", "2"), Cursor("s2", "1")], [bad], NOON)
        assert {name: cursor.mark for name, cursor in store.cursors("jsonl").items()} == {"s1": "2", "s2": "1"}
        assert list(store.rejected("jsonl")) == [bad, worse]
        store.drop_rejected("jsonl", [bad])
        assert list(store.rejected("jsonl")) == [worse]
        assert store.rejected("other") == []

    def test_a_file_name_that_is_no_text_is_refused_without_harm(self, store: Store) -> None:
        odd = "caf\udce9 \x1b[31m"
        bad = Rejected(odd, f"{odd}:7", f"cannot read {odd}", Digest(sha256(b"x")))
        store.save_scan("jsonl", [], [], [Cursor(odd, odd)], [bad], NOON)
        assert len(store.rejected("jsonl")) == len(store.cursors("jsonl")) == 1
        store.drop_rejected("jsonl", [bad])
        assert store.rejected("jsonl") == []

    def test_failures_are_listed_oldest_first_by_any_of_their_marks(self, store: Store) -> None:
        late, early, other = failure("s2", 5), failure("s1", 1), failure("s1", 3, "lost-order")
        save(store, late, early, other)
        assert [one.id for one in store.failures()] == ["s1#1", "s1#3", "s2#5"]
        assert [one.id for one in store.failures(fingerprint=REFUND)] == ["s1#1", "s2#5"]
        assert [one.id for one in store.failures(session="s1")] == ["s1#1", "s1#3"]
        assert [one.id for one in store.failures(fingerprint=REFUND, session="s1", unbatched=True)] == ["s1#1"]
        assert [one.id for one in store.failures(limit=1)] == ["s1#1"]

    def test_fingerprints_count_what_was_seen_by_whom(self, store: Store) -> None:
        save(store, failure("s1", 1, user="ann"), failure("s2", 4, user="bob"))
        save(store, failure("s3", 2, user="ann"), failure("s4", 1, "lost-order", user=None))
        refund, lost = store.fingerprints()
        assert (refund.fingerprint, refund.seen, refund.users, refund.state) == (REFUND, 3, 2, "open")
        assert refund.last == NOON + timedelta(minutes=4)
        assert refund.example == "refund ran twice for order 4"
        assert (lost.fingerprint, lost.seen, lost.users) == ("lost-order", 1, 1)
        assert [row.fingerprint for row in store.fingerprints(limit=1, offset=1)] == ["lost-order"]

    def test_open_groups_are_what_no_batch_has(self, store: Store) -> None:
        found = [failure("s1", 1), failure("s1", 2), failure("s2", 1), failure("s1", 3, "lost-order")]
        save(store, *found)
        assert store.open_groups("session") == [("s1", 3), ("s2", 1)]
        assert store.open_groups("fingerprint") == [("refund-twice", 3), ("lost-order", 1)]
        assert store.open_groups("session", limit=1) == [("s1", 3)]
        store.seal(batch("b-01", found[:3]))
        assert store.open_groups("session") == [("s1", 1)]
        assert store.open_groups("fingerprint") == [("lost-order", 1)]

    def test_a_dismissed_fingerprint_comes_back_with_a_new_failure(self, store: Store) -> None:
        save(store, failure("s1", 1), failure("s1", 2), failure("s1", 3, "lost-order"))
        assert store.dismiss(REFUND, "known", NOON) == 2
        assert store.dismiss(REFUND, "known", NOON) == 0
        assert store.dismiss(Fingerprint("none"), "?", NOON) == 0
        assert states(store) == {"refund-twice": "dismissed", "lost-order": "open"}
        assert [one.id for one in store.failures(unbatched=True)] == ["s1#3"]
        save(store, failure("s1", 1))
        assert states(store)["refund-twice"] == "dismissed"
        save(store, failure("s5", 1))
        assert states(store)["refund-twice"] == "reopened"
        assert [one.id for one in store.failures(fingerprint=REFUND, unbatched=True)] == ["s5#1"]

    def test_a_turn_that_failed_is_no_guard(self, store: Store) -> None:
        store.save_scan("jsonl", [], [guard("s1", 1), guard("s1", 2)], [], [], NOON)
        save(store, failure("s1", 1))
        store.save_scan("jsonl", [], [guard("s1", 1)], [], [], NOON)
        assert [one.id for one in store.guards()] == ["s1#2"]
        assert store.counts()["guards"] == 1


class BatchContract:
    def test_a_sealed_batch_takes_its_failures_and_only_free_ones(self, store: Store) -> None:
        one, two, three = failure("s1", 1), failure("s1", 2), failure("s1", 3)
        save(store, one, two, three)
        sealed = batch("b-01", [one, two])
        store.seal(sealed)
        store.seal(sealed)
        assert store.batch(BatchId("b-01")) == sealed
        assert store.batch(BatchId("b-99")) is None
        assert states(store) == {"refund-twice": "batched"}
        assert [one.id for one in store.failures(unbatched=True)] == ["s1#3"]
        with pytest.raises(Refused, match="s1#2"):
            store.seal(batch("b-02", [three, two]))
        with pytest.raises(Refused, match="b-01"):
            store.seal(batch("b-01", [three]))
        assert store.batch(BatchId("b-02")) is None
        assert [one.id for one in store.failures(unbatched=True)] == ["s1#3"]

    def test_a_batch_moves_on_and_gives_back_what_was_not_fixed(self, store: Store) -> None:
        one, two = failure("s1", 1), failure("s1", 2)
        save(store, one, two)
        store.seal(batch("b-01", [one, two]))
        store.set_batch(BatchId("b-01"), BatchState.RUNNING, RUN)
        assert [(row.state, row.run) for row in store.fingerprints()] == [("batched", RUN)]
        store.set_batch(BatchId("b-01"), BatchState.DONE, RUN, back=[two.id])
        assert [one.id for one in store.failures(unbatched=True)] == ["s1#2"]
        assert states(store) == {"refund-twice": "open"}
        store.seal(batch("b-02", [two]))
        store.set_batch(BatchId("b-02"), BatchState.DONE, RunId("ev-02"))
        assert states(store) == {"refund-twice": "fixed"}
        with pytest.raises(Refused):
            store.set_batch(BatchId("b-99"), BatchState.DONE, None)

    def test_what_was_fixed_comes_back_with_a_new_failure_and_with_a_rollback(self, store: Store) -> None:
        one = failure("s1", 1)
        save(store, one)
        store.seal(batch("b-01", [one]))
        store.set_batch(BatchId("b-01"), BatchState.DONE, RUN)
        with pytest.raises(Refused):
            store.seal(batch("b-02", [one]))
        save(store, failure("s2", 1))
        assert states(store) == {"refund-twice": "reopened"}
        store.set_batch(BatchId("b-01"), BatchState.DONE, RUN, back=[one.id])
        assert [one.id for one in store.failures(unbatched=True)] == ["s1#1", "s2#1"]
        assert store.open_groups("session") == [("s1", 1), ("s2", 1)]

    def test_a_dismissed_batch_dismisses_its_failures(self, store: Store) -> None:
        one = failure("s1", 1)
        save(store, one)
        store.seal(batch("b-01", [one]))
        store.set_batch(BatchId("b-01"), BatchState.DISMISSED, None)
        assert states(store) == {"refund-twice": "dismissed"}
        assert store.failures(unbatched=True) == []

    def test_batches_are_listed_oldest_sealed_first(self, store: Store) -> None:
        for place, minutes in enumerate((5, 1, 3), 1):
            sealed_at = NOON + timedelta(minutes=minutes)
            store.seal(batch(f"b-{place}", [failure(f"s{place}", 1)], sealed_at=sealed_at))
        assert [row.id for row in store.batches()] == ["b-2", "b-3", "b-1"]
        store.set_batch(BatchId("b-3"), BatchState.RUNNING, RUN)
        assert [row.id for row in store.batches(BatchState.SEALED)] == ["b-2", "b-1"]
        assert [row.run for row in store.batches(BatchState.RUNNING)] == [RUN]
        row = store.batches(limit=1)[0]
        assert (row.label, row.group_by, row.cases, row.guards) == ("refund-twice", "fingerprint", 1, 0)


def save(store: Store, *found: Failure) -> None:
    """A piece of a scan that holds failures alone."""
    store.save_scan("jsonl", found, [], [], [], NOON)


def states(store: Store) -> dict[str, str]:
    return {row.fingerprint: row.state for row in store.fingerprints()}
