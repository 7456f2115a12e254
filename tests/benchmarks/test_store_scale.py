"""The benchmark's store is one that the store itself could have written, and its figures are figures."""

from pathlib import Path

from moss.adapters.stores.sql import SqlStore
from moss.testing.clock import ManualClock
from moss.testing.conformance.store import NOON
from moss.testing.samples import failure
from tests.benchmarks.store_scale import ENTRIES, fill, measure_here


def test_what_is_filled_in_is_what_the_store_would_have_counted(tmp_path: Path) -> None:
    fill(tmp_path, runs=200, failures=600)
    with SqlStore.open(tmp_path, ManualClock()) as store:
        assert store.verify() is None
        assert len(store.runs(active=True, limit=1000)) == 2
        rows = store.fingerprints(limit=1000)
        assert sum(row.seen for row in rows) == store.counts()["failures"] == 600
        pool = store.failures(unbatched=True, limit=1000)
        assert sum(count for _, count in store.open_groups("fingerprint")) == len(pool) == 200
        assert dict(store.open_groups("session"))[pool[0].turn.session] == sum(
            one.turn.session == pool[0].turn.session for one in pool
        )
        assert store.failure(pool[0].id) == pool[0]
        assert store.save_scan("jsonl", [failure("s0", 1), failure("new", 1)], [], [], [], NOON) == 1
        assert store.new_run_id() == "ev-201"


def test_every_list_call_is_measured(tmp_path: Path) -> None:
    fill(tmp_path, runs=100, failures=100)
    figures = measure_here(tmp_path, rounds=3)
    assert len(figures.p95_ms) >= 15
    assert 0 < figures.slowest_ms < 1000
    assert figures.rss_bytes >= figures.rss_before_bytes > 10_000_000
    assert figures.append_ms > 0
    with SqlStore.open(tmp_path, ManualClock()) as store:
        assert store.verify() is None
        assert store.runs(active=False, limit=1)[0].seq == ENTRIES + 20
