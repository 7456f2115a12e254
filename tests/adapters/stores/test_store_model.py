"""Whatever happens to failures and batches, the SQL store's kept counts say what the plain dictionaries say."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moss.adapters.stores.sql import SqlStore
from moss.domain.batch import BatchState
from moss.domain.evidence import Failure
from moss.domain.ids import BatchId, Fingerprint, RunId
from moss.errors import Refused
from moss.ports import Store
from moss.testing.clock import ManualClock
from moss.testing.samples import NOON, batch, failure, guard
from moss.testing.stores import MemoryStore

PRINTS = ("print-a", "print-b", "print-c")
BATCHES = ("b-01", "b-02", "b-03")
Step = Callable[[Store], object]


def failed(place: int) -> Failure:
    """One of thirty failures; its fingerprint and user follow from its place."""
    return failure(f"s{place % 4}", place // 4 + 1, PRINTS[place % 3], f"u{place % 5}")


places = st.lists(st.integers(0, 29), min_size=1, max_size=6, unique=True)


def saved(found: list[int], guarded: list[int]) -> Step:
    guards = [guard(f"s{place % 4}", place // 4 + 1) for place in guarded]
    return lambda store: store.save_scan("jsonl", [failed(place) for place in found], guards, [], [], NOON, counted=3)


def sealed(name: str, found: list[int]) -> Step:
    return lambda store: store.seal(batch(name, [failed(place) for place in found]))


def moved(name: str, state: BatchState, back: list[int], run: str | None) -> Step:
    ids = [failed(place).id for place in back]
    return lambda store: store.set_batch(BatchId(name), state, RunId(run) if run else None, ids)


def dismissed(name: str) -> Step:
    return lambda store: store.dismiss(Fingerprint(name), "known", NOON)


steps = st.lists(
    st.one_of(
        st.builds(saved, places, places),
        st.builds(sealed, st.sampled_from(BATCHES), places),
        st.builds(
            moved,
            st.sampled_from(BATCHES),
            st.sampled_from(BatchState),
            st.lists(st.integers(0, 29), max_size=3),
            st.sampled_from(["ev-01", None]),
        ),
        st.builds(dismissed, st.sampled_from(PRINTS)),
    ),
    max_size=14,
)


def view(store: Store) -> dict[str, object]:
    return {
        "fingerprints": store.fingerprints(),
        "sessions": store.open_groups("session"),
        "groups": store.open_groups("fingerprint"),
        "pool": [one.id for one in store.failures(unbatched=True)],
        "guards": [one.id for one in store.guards()],
        "batches": store.batches(),
        "counts": store.counts(),
    }


def done(step: Step, store: Store) -> object:
    try:
        return step(store)
    except Refused as error:
        return str(error).split(".")[0]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("model") / "empty"
    SqlStore.open(home, ManualClock()).close()
    return home


@pytest.mark.slow
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=steps)
def test_both_stores_say_the_same_after_any_steps(empty: Path, tmp_path: Path, steps: list[Step]) -> None:
    home = tmp_path / "home"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(empty, home)
    memory = MemoryStore(ManualClock(), tmp_path / "artifacts")
    with SqlStore.open(home, ManualClock()) as store:
        for step in steps:
            assert done(step, store) == done(step, memory)
            assert view(store) == view(memory)
