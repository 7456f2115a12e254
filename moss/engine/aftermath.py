"""Owns what follows from a journal without being in it: notices, the batch's state, leftovers of ended runs.

Everything is derived and idempotent: it is done after each tick, and again for runs that a killed controller left.
"""

import shutil
from datetime import datetime
from pathlib import Path

from moss.domain.batch import BatchState
from moss.domain.events import Outcome
from moss.domain.ids import FailureId
from moss.domain.run import Run
from moss.engine.journal import load
from moss.engine.notices import announce
from moss.engine.places import run_folder
from moss.ports import Boxes, Store

RECENT = 200
"""ended runs that are looked at when a controller starts"""


def follow(store: Store, run: Run, now: datetime) -> None:
    """Notices of what is on record; an ended run gives its batch back. Raises: StoreError."""
    if run.outcome is not None:
        close_batch(store, run)
    announce(store, run, now)


def close_batch(store: Store, run: Run) -> None:
    """The batch is done; failures that were not fixed on the live agent return to the pool."""
    row = next((one for one in store.batches(BatchState.RUNNING) if one.id == run.started.batch), None)
    if row is None or row.run != run.id:
        return
    store.set_batch(run.started.batch, BatchState.DONE, run.id, back=unfixed(store, run))


def unfixed(store: Store, run: Run) -> tuple[FailureId, ...]:
    """Failures of the batch that the run did not fix on the live agent."""
    batch = store.batch(run.started.batch)
    if batch is None:
        return ()
    fixed = set(run.verdict.fixed) if run.outcome is Outcome.COMMITTED and run.verdict else set()
    return tuple(case.source for case in batch.cases if case.id not in fixed)


def catch_up(store: Store, now: datetime) -> None:
    """What a controller that was killed right after an append did not get to."""
    for row in store.runs(active=False, limit=RECENT):
        if int(store.fact(f"announced:{row.id}") or "0") < row.seq:
            follow(store, load(store, row.id), now)


def sweep(store: Store, boxes: Boxes, home: Path) -> int:
    """Removes boxes and work folders of runs that ended (and boxes of no known run); how many."""
    swept = 0
    for box in boxes.list():
        row = store.run(box.run)
        if row is None or row.outcome is not None:
            boxes.remove(box.key)
            swept += 1
    work = run_folder(home, "")
    for folder in work.iterdir() if work.is_dir() else ():
        row = store.run(folder.name)  # type: ignore[arg-type]
        if row is None or row.outcome not in (None, Outcome.STOPPED, Outcome.FAILED, Outcome.OUT_OF_BUDGET):
            shutil.rmtree(folder, ignore_errors=True)
            swept += 1
    return swept
