"""Owns what follows from a journal without being in it: notices, the batch's state, leftovers of ended runs.

Everything is derived and idempotent: it is done after each tick, and again for runs that a killed controller left.
"""

import re
from datetime import datetime
from pathlib import Path

from moss.domain.batch import BatchState
from moss.domain.events import Outcome
from moss.domain.facts import announced
from moss.domain.ids import FailureId, RunId
from moss.domain.run import Run
from moss.engine.journal import load
from moss.engine.notices import announce
from moss.engine.places import drop_tree, work_folder
from moss.ports import Boxes, Store

ROWS = 100_000
RECENT = 200
"""ended runs that are looked at when a controller starts"""
OF_A_RUN = re.compile(r"ev-\d+")
"""Whatever has another name is a command's own (adopt builds, doctor probes), at work in a process beside this one."""


def follow(store: Store, run: Run, now: datetime) -> None:
    """Notices of what is on record; an open run has its batch, an ended one gives it back. Raises: StoreError."""
    if run.outcome is not None:
        close_batch(store, run)
    elif run.swap is None or not run.swap.undo:
        take_batch(store, run)
    announce(store, run, now)


def take_batch(store: Store, run: Run) -> None:
    """The batch is at work in this run, also when the one who started or resumed it was killed before saying so."""
    if not _is(store, run, BatchState.RUNNING):
        store.set_batch(run.started.batch, BatchState.RUNNING, run.id)


def close_batch(store: Store, run: Run) -> None:
    """The batch is done; failures that are not (or no longer) fixed on the live agent return to the pool."""
    again = run.outcome is Outcome.REVERTED and _is(store, run, BatchState.DONE)
    if again or _is(store, run, BatchState.RUNNING):
        store.set_batch(run.started.batch, BatchState.DONE, run.id, back=unfixed(store, run))


def _is(store: Store, run: Run, state: BatchState) -> bool:
    """Whether the batch is in that state, in this run."""
    return any(row.id == run.started.batch and row.run == run.id for row in store.batches(state, limit=ROWS))


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
        if int(store.fact(announced(row.id)) or "0") < row.seq:
            follow(store, load(store, row.id), now)


def sweep(store: Store, boxes: Boxes, home: Path) -> int:
    """Removes boxes and work folders of runs that ended or are not known; how many."""
    swept = 0
    for box in boxes.list():
        if not OF_A_RUN.fullmatch(box.run):
            continue
        row = store.run(box.run)
        if row is None or row.outcome is not None:
            boxes.remove(box.key)
            swept += 1
    for folder in work_folder(home).glob("ev-*"):
        row = store.run(RunId(folder.name))
        if row is None or row.outcome not in (None, Outcome.STOPPED, Outcome.FAILED, Outcome.OUT_OF_BUDGET):
            drop_tree(folder)
            swept += 1
    return swept
