"""What the store's own tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from moss.adapters.stores.sql import SqlStore
from moss.testing.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path, clock: ManualClock) -> Iterator[SqlStore]:
    with SqlStore.open(home, clock) as store:
        yield store
