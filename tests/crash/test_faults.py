"""What else may happen to a run: a full or read-only store, a clock that is set back, a torn write, a newer MOSS."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from moss.adapters.stores.sql import SqlStore
from moss.domain.batch import BatchState
from moss.domain.events import Outcome, Stage
from moss.domain.ids import RunId
from moss.domain.journal import Entry
from moss.domain.run import Run
from moss.errors import NewerSchema, StoreError, StoreFull, StoreReadOnly
from moss.ports import Claim, Head
from moss.testing.clock import ManualClock
from moss.testing.puppet import Attempt
from moss.testing.workbench import Workbench, workbench

STORIES = Path(__file__).with_name("stories.py")
FIX = Attempt(fixes=("case-1",))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    """A bench on the real store."""
    stores: list[SqlStore] = []

    def opened(clock: ManualClock) -> SqlStore:
        stores.append(SqlStore.open(tmp_path / "home", clock))
        return stores[-1]

    yield workbench(tmp_path / "bench", cases=1, store=opened).attempts(FIX)
    stores[0].close()


class Harmed:
    """A store whose writes fail from a moment on, as its disk would have it, until it is mended."""

    def __init__(self, store: Any, error: StoreError, after: int) -> None:
        self._store, self._error, self.left = store, error, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in ("append", "claim", "renew", "release", "put", "enqueue", "set_fact", "set_batch"):
            return found

        def called(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise self._error
            return found(*args, **kwargs)

        return called


async def whole(bench: Workbench, run: RunId) -> Run:
    if (await bench.go(run)).outcome is None:
        bench.approve(run)
        await bench.go(run)
    return bench.run(run)


async def step_by_step(bench: Workbench, run: RunId) -> None:
    for _ in range(100):
        await bench.controller().drive(run, steps=1)


@pytest.mark.parametrize("error", [StoreFull("no space left"), StoreReadOnly("the store is read-only")])
@pytest.mark.parametrize("after", [0, 3, 20, 60, 90])
async def test_a_run_goes_on_where_the_disk_stopped_it(bench: Workbench, error: StoreError, after: int) -> None:
    run = bench.start()
    harmed = bench.with_parts(store=Harmed(bench.store, error, after))
    with pytest.raises(type(error)):
        await step_by_step(harmed, run)
    assert bench.run(run).outcome is None
    assert bench.store.verify() is None
    ended = await whole(bench, run)
    assert ended.outcome is Outcome.COMMITTED
    assert len(bench.paid) == len(set(bench.paid)) == 5
    assert ended.spent.trials == 16


async def test_a_file_that_is_really_full_stops_the_run_and_nothing_is_half_written(bench: Workbench) -> None:
    run = bench.start()
    store: Any = bench.store
    file = store._db.place
    with sqlite3.connect(file) as direct:
        pages = direct.execute("PRAGMA page_count").fetchone()[0]
    full = {"pages": pages}

    def bound(connection: Any, record: Any) -> None:
        if full:
            connection.execute(f"PRAGMA max_page_count={full['pages']}")

    event.listen(store._db.engine, "connect", bound)
    store._db.engine.dispose()
    with pytest.raises(StoreFull, match="store"):
        await step_by_step(bench, run)
    assert bench.store.verify() is None
    full.clear()
    store._db.engine.dispose()
    assert (await whole(bench, run)).outcome is Outcome.COMMITTED


@pytest.mark.parametrize("steps", [0, 1, 4, 10, 14, 17, 20])
async def test_a_clock_that_is_set_back_an_hour_changes_nothing(bench: Workbench, steps: int) -> None:
    run = bench.start()
    await bench.controller().drive(run, steps=min(steps, 11))
    if steps > 11:
        bench.approve(run)
        await bench.controller().drive(run, steps=steps - 11)
    bench.clock.jump(-3600)
    assert (await whole(bench, run)).outcome is Outcome.COMMITTED
    assert bench.store.verify() is None
    assert bench.target.held is None


async def test_a_clock_that_is_set_back_before_every_step_changes_nothing(bench: Workbench) -> None:
    run = bench.start()
    for _ in range(60):
        bench.clock.jump(-3600)
        await bench.controller().drive(run, steps=1)
        following = bench.run(run).next
        if following is not None and following.stage is Stage.CONSENT:
            bench.approve(run)
    bench.clock.tick(3600 * 70)
    assert (await bench.go(run)).outcome is Outcome.COMMITTED


@pytest.mark.slow
def test_a_torn_last_write_of_the_log_ends_the_same(tmp_path: Path) -> None:
    words = [sys.executable, str(STORIES), "rolled_back+torn", str(tmp_path), "20", "45", "66", "101"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=280, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    said = json.loads(ran.stdout.splitlines()[-1])
    assert said["tried"] == 4
    assert said["wrong"] == {}


# ------------------------------------------------------------------ a newer MOSS


class Newer:
    """The journal as a newer MOSS reads and writes it: it has one stage more (`rehearse`, where the preflight was),
    and a new field in what it records. The older code below it knows neither."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def append(
        self, run: RunId, seq: int, at: Any, kind: str, event: Mapping[str, Any], head: Head, claim: Claim | None
    ) -> Entry:
        body = json.loads(json.dumps(event).replace('"stage": "preflight"', '"stage": "rehearse"'))
        return self._store.append(run, seq, at, kind, {**body, "version": 2, "watts": 3.5}, head, claim)  # type: ignore[no-any-return]

    def entries(self, run: RunId, after: int = 0, limit: int | None = None) -> Sequence[Entry]:
        return [self._older(entry) for entry in self._store.entries(run, after, limit)]

    def _older(self, entry: Entry) -> Entry:
        text = json.dumps(entry.event).replace('"stage": "rehearse"', '"stage": "preflight"')
        body = json.loads(text)
        body.pop("watts", None)
        return entry.model_copy(update={"event": body})


async def into_the_swap(bench: Workbench, run: RunId, phases: int) -> None:
    """Drives until the swap has done so many phases."""
    await bench.go(run)
    bench.approve(run)
    await bench.controller().drive(run, steps=1 + phases)


@pytest.mark.parametrize("phases", [0, 2, 4, 6, 8])
async def test_a_newer_moss_takes_over_in_mid_swap_and_the_older_lets_it(bench: Workbench, phases: int) -> None:
    run = bench.start()
    await into_the_swap(bench, run, phases)
    newer = bench.with_parts(store=Newer(bench.store))
    await newer.controller("newer").drive(run, steps=1)
    before = bench.store.run(run)
    with pytest.raises(NewerSchema, match=r"^ev-01 entry \d+ \(\w+\) was written by a newer MOSS$"):
        await bench.controller("older").drive(run)
    assert bench.store.run(run) == before  # the older one changed nothing
    assert (await newer.go(run)).outcome is Outcome.COMMITTED
    assert bench.store.verify() is None
    assert bench.target.restart_policy == "always"
    assert bench.target.starts == [bench.base, newer.run(run).swap.new]  # type: ignore[union-attr]
    assert len(bench.paid) == len(set(bench.paid)) == 5


async def test_a_journal_with_an_added_stage_is_refused_by_the_older_and_finished_by_the_newer(
    bench: Workbench,
) -> None:
    newer = bench.with_parts(store=Newer(bench.store))
    run = newer.start()
    await newer.go(run)
    newer.approve(run)  # records `next: rehearse`
    with pytest.raises(NewerSchema):
        await bench.controller("older").drive(run)
    with pytest.raises(NewerSchema):
        bench.desk.stop(run, "alice")
    assert (await newer.go(run)).outcome is Outcome.COMMITTED


async def test_a_run_of_a_newer_moss_does_not_stop_the_others(bench: Workbench) -> None:
    newer = bench.with_parts(store=Newer(bench.store))
    theirs = newer.start()
    newer.desk.stop(theirs, "alice")
    await newer.go(theirs)
    bench.store.set_batch(bench.batch.id, BatchState.SEALED, None)
    ours = bench.start()
    assert (await whole(bench, ours)).outcome is Outcome.COMMITTED
