"""The contract of the store, for each store that there is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from moss.adapters.stores.sql import SqlStore
from moss.ports import Store
from moss.testing.clock import ManualClock
from moss.testing.conformance.store import StoreContract
from moss.testing.stores import MemoryStore


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self, clock: ManualClock) -> Store:
        return MemoryStore(clock)


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, clock: ManualClock, tmp_path: Path) -> Iterator[Store]:
        with SqlStore.open(tmp_path / "home", clock) as store:
            yield store
