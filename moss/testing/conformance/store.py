"""Owns the contract of `moss.ports.Store` as tests. Subclass `StoreContract` and give it `clock` and `store`.

Never looks inside a store: what is asserted here is what the port's docstrings promise, for every adapter.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from moss.domain.batch import BatchState
from moss.domain.frozen import sha256
from moss.domain.ids import BatchId, Digest, Fingerprint, RunId
from moss.domain.journal import GENESIS, Entry, chain
from moss.errors import ClaimLost, SeqTaken
from moss.ports import Claim, Head, Notice, Store
from moss.testing.clock import ManualClock
from moss.testing.conformance.store_evidence import BatchContract, EvidenceContract
from moss.testing.samples import NOON, batch, failure

RUN = RunId("ev-01")
REFUND = Fingerprint("refund-twice")
FOREVER = datetime(2100, 1, 1, tzinfo=UTC)


def add(
    store: Store,
    seq: int,
    run: RunId = RUN,
    *,
    stage: str = "plan",
    outcome: str | None = None,
    claim: Claim | None = None,
    event: dict[str, object] | None = None,
) -> Entry:
    """One more entry of a run."""
    head = Head("clerk", BatchId("b-01"), "refund-twice", stage, outcome)
    return store.append(run, seq, NOON, "noted", event or {"kind": "noted", "n": seq}, head, claim)


class JournalContract:
    def test_entries_are_chained_from_genesis_and_read_back_as_written(self, store: Store) -> None:
        event: dict[str, object] = {"kind": "x", "text": 'ü \x00 "', "n": 0.1, "deep": [{"a": None}]}
        first, second = add(store, 1, event=event), add(store, 2)
        assert first.prev == GENESIS
        assert second.prev == first.hash
        assert first.hash == chain(GENESIS, RUN, 1, NOON, dict(event))
        assert list(store.entries(RUN)) == [first, second]
        assert list(store.entries(RUN, after=1)) == [second]
        assert list(store.entries(RUN, limit=1)) == [first]
        assert store.entries(RunId("none")) == []
        assert store.verify() is None

    @pytest.mark.parametrize("seq", [0, 1, 2, 4])
    def test_a_second_writer_of_a_number_fails_and_changes_nothing(self, store: Store, seq: int) -> None:
        add(store, 1)
        add(store, 2, stage="implement")
        with pytest.raises(SeqTaken):
            add(store, seq, stage="other")
        row = store.run(RUN)
        assert row is not None
        assert (row.seq, row.stage, len(store.entries(RUN))) == (2, "implement", 2)

    def test_of_many_threads_with_the_same_number_one_wins(self, store: Store) -> None:
        def race(_: int) -> bool:
            try:
                add(store, 1)
            except SeqTaken:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(race, range(16))) == 1
        assert len(store.entries(RUN)) == 1

    def test_a_time_of_another_zone_is_kept_as_utc(self, store: Store) -> None:
        there = NOON.astimezone(timezone(timedelta(hours=5))).replace(microsecond=123)
        head = Head("clerk", BatchId("b"), "l", "plan", None)
        entry = store.append(RUN, 1, there, "k", {}, head, None)
        assert entry.at == there
        assert entry.at.utcoffset() == timedelta(0)
        assert store.verify(RUN) is None

    def test_the_list_of_runs_follows_the_journal(self, store: Store) -> None:
        for name in ("ev-01", "ev-02", "ev-03"):
            add(store, 1, RunId(name))
        add(store, 2, RunId("ev-02"), stage="verdict", outcome="committed")
        assert [row.id for row in store.runs()] == ["ev-03", "ev-02", "ev-01"]
        assert [row.id for row in store.runs(active=True)] == ["ev-03", "ev-01"]
        assert [(row.id, row.outcome) for row in store.runs(active=False)] == [("ev-02", "committed")]
        assert [row.id for row in store.runs(limit=1, offset=1)] == ["ev-02"]
        assert store.runs(substrate="another") == []
        row = store.run(RunId("ev-02"))
        assert row is not None
        assert (row.stage, row.seq, row.substrate, row.batch, row.label) == (
            ("verdict", 2, "clerk", "b-01", "refund-twice")
        )
        assert store.run(RunId("none")) is None

    def test_ids_are_never_given_twice(self, store: Store) -> None:
        with ThreadPoolExecutor(4) as pool:
            runs = list(pool.map(lambda _: store.new_run_id(), range(12)))
        assert sorted(runs) == [f"ev-{n:02d}" for n in range(1, 13)]
        assert [store.new_batch_id(), store.new_batch_id()] == ["b-01", "b-02"]


class ClaimContract:
    def test_one_owner_at_a_time_and_its_own_claim_is_renewed(self, store: Store) -> None:
        mine = store.claim(RUN, "a", 30)
        assert mine is not None
        assert store.claim(RUN, "b", 30) is None
        again = store.claim(RUN, "a", 30)
        assert again is not None
        assert again.token == mine.token
        assert store.claim(RunId("ev-02"), "b", 30) is not None

    def test_a_claim_without_a_sign_of_life_goes_to_another_and_its_owner_can_write_nothing(
        self, store: Store, clock: ManualClock
    ) -> None:
        mine = store.claim(RUN, "a", 30)
        assert mine is not None
        add(store, 1, claim=mine)
        clock.tick(31)
        theirs = store.claim(RUN, "b", 30)
        assert theirs is not None
        assert theirs.token != mine.token
        with pytest.raises(ClaimLost):
            add(store, 2, claim=mine)
        with pytest.raises(ClaimLost):
            store.renew(mine, 30)
        store.release(mine)
        assert store.claim(RUN, "c", 30) is None
        add(store, 2, claim=theirs)

    def test_a_heartbeat_keeps_a_claim(self, store: Store, clock: ManualClock) -> None:
        mine = store.claim(RUN, "a", 30)
        assert mine is not None
        for _ in range(5):
            clock.tick(20)
            mine = store.renew(mine, 30)
        assert store.claim(RUN, "b", 30) is None
        assert mine.expires == clock.now() + timedelta(seconds=30)

    def test_a_claim_that_ran_out_is_lost_though_nobody_took_it(self, store: Store, clock: ManualClock) -> None:
        mine = store.claim(RUN, "a", 30)
        assert mine is not None
        clock.tick(31)
        with pytest.raises(ClaimLost):
            add(store, 1, claim=mine)
        with pytest.raises(ClaimLost):
            store.renew(mine, 30)
        assert store.claim(RUN, "a", 30) is not None

    def test_a_released_claim_is_free_at_once_and_good_for_nothing(self, store: Store) -> None:
        mine = store.claim(RUN, "a", 30)
        assert mine is not None
        store.release(mine)
        with pytest.raises(ClaimLost):
            add(store, 1, claim=mine)
        assert store.claim(RUN, "b", 30) is not None
        store.release(mine)
        assert store.claim(RUN, "c", 30) is None

    def test_the_claim_on_another_run_is_none_on_this_one(self, store: Store) -> None:
        other = store.claim(RunId("ev-02"), "a", 30)
        with pytest.raises(ClaimLost):
            add(store, 1, claim=other)

    def test_a_wall_clock_set_back_an_hour_does_not_freeze_the_run(self, store: Store, clock: ManualClock) -> None:
        assert store.claim(RUN, "a", 30) is not None
        clock.jump(-3600)
        assert store.claim(RUN, "b", 30) is None
        clock.tick(31)
        assert store.claim(RUN, "b", 30) is not None

    def test_a_wall_clock_set_forward_an_hour_gives_the_run_to_nobody_else(
        self, store: Store, clock: ManualClock
    ) -> None:
        mine = store.claim(RUN, "a", 30)
        assert mine is not None
        clock.jump(3600)
        assert store.claim(RUN, "b", 30) is None
        add(store, 1, claim=store.renew(mine, 30))


class ArtifactContract:
    def test_bytes_come_back_by_their_hash_and_as_a_file(self, store: Store) -> None:
        digest = store.put(b"\x00diff", "patch", RUN)
        assert digest == sha256(b"\x00diff")
        assert store.put(b"\x00diff", "patch") == digest
        assert store.get(digest) == b"\x00diff"
        assert store.artifact_path(digest).read_bytes() == b"\x00diff"
        assert store.get(Digest(sha256(b"never"))) is None

    def test_retention_drops_what_is_old_and_named_by_nobody(self, store: Store, clock: ManualClock) -> None:
        old, kept = store.put(b"old", "log", RUN), store.put(b"kept", "log", RUN)
        again = store.put(b"again", "log")
        clock.tick(100)
        edge = clock.now()
        new = store.put(b"new", "log")
        store.put(b"again", "log")
        add(store, 1, outcome="committed")
        assert store.drop_artifacts(edge, keep=[kept]) == 1
        assert store.get(old) is None
        assert not store.artifact_path(old).exists()
        assert [store.get(one) for one in (kept, new, again)] == [b"kept", b"new", b"again"]
        assert store.drop_artifacts(edge, keep=[kept]) == 0

    def test_retention_never_drops_what_an_unfinished_run_or_batch_refers_to(self, store: Store) -> None:
        own, named, sealed = (store.put(data, "log", run) for data, run in ((b"1", RUN), (b"2", None), (b"3", None)))
        store.put(b"1", "log", RunId("ev-09"))
        one = failure()
        one = one.model_copy(update={"turn": one.turn.model_copy(update={"recording": sealed})})
        add(store, 1, event={"kind": "x", "log": named})
        store.seal(batch("b-01", [one]))
        assert store.drop_artifacts(FOREVER, keep=[]) == 0
        add(store, 2, outcome="failed")
        assert store.drop_artifacts(FOREVER, keep=[]) == 2
        assert store.get(sealed) == b"3"
        store.set_batch(BatchId("b-01"), BatchState.DONE, RUN)
        assert store.drop_artifacts(FOREVER, keep=[]) == 1
        assert store.get(own) is None
        assert store.verify() is None


class OutboxContract:
    def test_a_notice_is_due_until_delivered_and_its_id_is_taken_for_good(self, store: Store) -> None:
        first, second = notice("n1"), notice("n2", minutes=1)
        for one in (first, second, replace(first, kind="other")):
            store.enqueue(one)
        assert [out.notice for out in store.due(NOON)] == [first]
        assert [out.notice for out in store.due(NOON + timedelta(hours=1))] == [first, second]
        assert len(store.due(NOON + timedelta(hours=1), limit=1)) == 1
        store.delivered("n1")
        store.enqueue(first)
        assert store.due(NOON) == []

    def test_a_failed_attempt_waits_and_remembers_who_took_it(self, store: Store) -> None:
        store.enqueue(notice("n1"))
        store.postpone("n1", NOON + timedelta(seconds=5), taken=["mail"], because="500")
        store.postpone("n1", NOON + timedelta(seconds=9), taken=["hook", "mail"], because="no answer")
        assert store.due(NOON + timedelta(seconds=8)) == []
        (out,) = store.due(NOON + timedelta(seconds=9))
        assert (out.attempts, out.taken, out.because) == (2, ("mail", "hook"), "no answer")

    def test_what_was_given_up_stays_visible(self, store: Store) -> None:
        store.enqueue(notice("n1"))
        store.enqueue(notice("n2", minutes=1))
        store.give_up("n1", "no answer for a day")
        store.give_up("none", "?")
        store.give_up("n2", "x")
        assert [out.notice.id for out in store.undeliverable()] == ["n2", "n1"]
        assert store.undeliverable()[1].because == "no answer for a day"
        assert store.due(NOON + timedelta(days=1)) == []

    def test_what_was_given_up_is_due_again_when_asked(self, store: Store) -> None:
        store.enqueue(notice("n1"))
        store.enqueue(notice("n2"))
        store.postpone("n1", NOON, taken=["mail"], because="500")
        store.give_up("n1", "no answer for a day")
        store.delivered("n2")
        for name in ("n1", "n2", "none"):
            store.again(name, NOON + timedelta(days=2))
        assert store.due(NOON + timedelta(days=1)) == []
        (out,) = store.due(NOON + timedelta(days=2))
        assert (out.notice.id, out.taken) == ("n1", ("mail",))
        assert store.undeliverable() == []


class FactContract:
    def test_a_fact_is_set_read_listed_and_removed(self, store: Store) -> None:
        assert store.fact("pause") is None
        assert store.set_fact("pause", "all")
        assert store.set_fact("consent/a%", "1")
        assert store.set_fact("consentXb", "2")
        assert store.fact("pause") == "all"
        assert store.facts("consent/") == {"consent/a%": "1"}
        assert store.facts("consent/a_") == {}
        assert store.set_fact("pause", None)
        assert store.fact("pause") is None

    def test_of_many_who_expect_the_same_one_sets_it(self, store: Store) -> None:
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda n: store.set_fact("used", str(n), expect=None), range(16)))
        assert won.count(True) == 1
        assert store.fact("used") == str(won.index(True))
        assert not store.set_fact("used", "x", expect="other")
        assert store.set_fact("used", "x", expect=str(won.index(True)))


class StoreContract(
    JournalContract,
    ClaimContract,
    ArtifactContract,
    EvidenceContract,
    BatchContract,
    OutboxContract,
    FactContract,
):
    """All of the port. Subclasses give the fixtures `clock` (a ManualClock) and `store` (empty, on that clock)."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def store(self, clock: ManualClock) -> Store:
        raise NotImplementedError


def notice(name: str, minutes: int = 0) -> Notice:
    return Notice(name, "run_started", NOON + timedelta(minutes=minutes), RUN, {"run": "ev-01", "n": [1]})
