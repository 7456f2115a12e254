"""Owns the operations that only look. Each takes the office and a closed value, and gives a closed value.

Never changes anything, never asks who somebody is (see `operations`). Heavy parts are imported where they are used,
so that `moss status` stays fast.
"""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from moss.api import asks, says
from moss.api.around import gateway_runs, live_line, serve_runs
from moss.api.plain import plain
from moss.domain.batch import Batch, BatchState
from moss.domain.facts import PAUSED
from moss.domain.ids import BatchId, Digest, RunId
from moss.domain.journal import Entry
from moss.errors import Absent, MossError
from moss.ports import RunRow, Store

if TYPE_CHECKING:
    from moss.domain.run import Run
    from moss.wiring import Wiring

LARGEST_DIFF = 2 << 20
KNOWN = 1000
"""names that a misspelt one is compared with"""


def status(wiring: "Wiring", ask: asks.Nothing) -> says.Status:
    """Where everything is, on one screen."""
    store, home = wiring.store, wiring.home
    counts = store.counts()
    return says.Status(
        substrate=wiring.settings.substrate.name,
        home=str(home),
        live=live_line(wiring),
        serve=serve_runs(home),
        gateway=gateway_runs(home),
        paused=store.fact(PAUSED),
        turns=counts.get("turns", 0),
        sessions=counts.get("sessions", 0),
        failures=counts.get("failures", 0),
        guards=counts.get("guards", 0),
        sealed=len(store.batches(BatchState.SEALED, limit=KNOWN)),
        active=tuple(_line(row) for row in store.runs(active=True, limit=20)),
        last=tuple(_line(row) for row in store.runs(active=False, limit=5)),
    )


def runs(wiring: "Wiring", ask: asks.Page) -> says.Runs:
    """Newest first."""
    rows = wiring.store.runs(limit=ask.limit, offset=ask.offset)
    return says.Runs(runs=tuple(_line(row) for row in rows))


def _line(row: RunRow) -> says.RunLine:
    return says.RunLine(
        id=row.id,
        batch=row.batch,
        label=row.label,
        stage=row.stage,
        outcome=row.outcome,
        waits=row.outcome is None and row.stage == "consent",
        started=row.started,
        updated=row.updated,
    )


def failures(wiring: "Wiring", ask: asks.Page) -> says.Failures:
    """Fingerprints, most seen first."""
    return says.Failures(
        fingerprints=tuple(
            says.FingerprintLine(
                fingerprint=row.fingerprint,
                seen=row.seen,
                users=row.users,
                last=row.last,
                example=row.example,
                state=row.state,
                run=row.run,
            )
            for row in wiring.store.fingerprints(ask.limit, ask.offset)
        )
    )


def batches(wiring: "Wiring", ask: asks.Listed) -> says.Batches:
    """Oldest sealed first."""
    return says.Batches(
        batches=tuple(
            says.BatchLine(
                id=row.id,
                label=row.label,
                group_by=row.group_by,
                state=row.state,
                cases=row.cases,
                guards=row.guards,
                sealed_at=row.sealed_at,
                run=row.run,
            )
            for row in wiring.store.batches(limit=ask.limit)
        )
    )


# ------------------------------------------------------------------ one run


def show(wiring: "Wiring", ask: asks.OneRun) -> says.Show:
    """All of one run."""
    from moss.api import views

    run, entries = _told(wiring.store, ask.run)
    paused = wiring.store.fact(PAUSED) is not None
    return views.show(run, entries, _batch(wiring.store, run), paused, _approver(wiring))


def review(wiring: "Wiring", ask: asks.OneRun) -> says.Review:
    """What a person reads before saying yes."""
    from moss.api import views

    run, _ = _told(wiring.store, ask.run)
    chosen = views.offered(run)
    beside = views.Beside(
        batch=_batch(wiring.store, run),
        diff=_diff_of(wiring.store, chosen.diff if chosen else None)[0],
        live=_live(wiring),
        snapshot_limit=wiring.settings.swap.snapshot_limit_bytes,
        state_bytes=_state_bytes(wiring),
        paused=wiring.store.fact(PAUSED) is not None,
        approver=_approver(wiring),
    )
    return views.review(run, beside)


def _approver(wiring: "Wiring") -> str:
    """Whose name a yes is given under: the first whose key counts."""
    names = (one.name for one in wiring.settings.consent.approvers if not one.revoked)
    return next(names, "NAME")


def diff(wiring: "Wiring", ask: asks.OneRun) -> says.Diff:
    """The candidate's change, as text."""
    from moss.api import views

    run, _ = _told(wiring.store, ask.run)
    chosen = views.offered(run)
    data, whole = _diff_of(wiring.store, chosen.diff if chosen else None)
    if chosen is None or not data:
        raise Absent(f"{run.id} has no change yet", mend=f"moss show {run.id}")
    return says.Diff(run=run.id, iteration=chosen.number, text=data.decode("utf-8", "replace"), whole=whole)


def matrix(wiring: "Wiring", ask: asks.OneRun) -> says.Matrix:
    """The keypoint matrix."""
    from moss.domain.matrix import matrix as grid

    run, _ = _told(wiring.store, ask.run)
    return grid(run, _batch(wiring.store, run))


def log(wiring: "Wiring", ask: asks.Log) -> says.LogLines:
    """A page of the journal."""
    from moss.api.story import log_line

    row = found(wiring.store, ask.run)
    entries = wiring.store.entries(row.id, ask.after, ask.limit + 1)
    return says.LogLines(
        lines=tuple(log_line(entry) for entry in entries[: ask.limit]),
        more=len(entries) > ask.limit,
        ended=row.outcome is not None,
        waits=row.outcome is None and row.stage == "consent",
        outcome=row.outcome,
    )


def verify(wiring: "Wiring", ask: asks.Verify) -> says.Verified:
    """Proves the hash chain; names the first broken link."""
    store = wiring.store
    run = found(store, ask.run).id if ask.run else None
    broken = store.verify(run)
    count = 1 if run else sum(len(page) for page in _pages(store))
    if broken is None:
        return says.Verified(runs=count)
    return says.Verified(runs=count, broken_run=broken.run, broken_seq=broken.seq, because=broken.because)


def _pages(store: Store) -> Iterable[list[RunRow]]:
    offset = 0
    while page := list(store.runs(limit=1000, offset=offset)):
        yield page
        offset += len(page)


# ------------------------------------------------------------------ finding


def found(store: Store, name: str) -> RunRow:
    """A run by its name. Raises: Absent with the nearest name."""
    row = store.run(RunId(name))
    if row is None:
        batch = store.batch(BatchId(name))
        if batch is not None:
            raise Absent(f"{batch.id} is a batch, not a run", mend=_run_of(store, batch.id))
        known = [one.id for one in store.runs(limit=KNOWN)]
        raise Absent(f"there is no run {plain(name, 60)}{nearest(name, known)}", mend="moss runs lists them")
    return row


def _run_of(store: Store, batch: BatchId) -> str:
    """What to type in place of a batch's name."""
    row = next((row for row in store.runs(limit=KNOWN) if row.batch == batch), None)
    return f"its run is {row.id}: moss show {row.id}" if row is not None else f"moss start {batch} starts its run"


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean `x`?`, or nothing."""
    close = difflib.get_close_matches(word[:80], [one[:80] for one in known], n=1)
    return f"; did you mean `{plain(close[0], 60)}`?" if close else ""


def _told(store: Store, name: str) -> tuple["Run", tuple[Entry, ...]]:
    from moss.engine.journal import fold

    entries = tuple(store.entries(found(store, name).id))
    return fold(entries), entries


def _batch(store: Store, run: "Run") -> Batch | None:
    return store.batch(BatchId(run.started.batch))


def _diff_of(store: Store, digest: Digest | None) -> tuple[bytes, bool]:
    """The patch and whether it is all of it; empty where there is none or retention dropped it."""
    data = (store.get(digest) if digest else None) or b""
    return data[:LARGEST_DIFF], len(data) <= LARGEST_DIFF


def _live(wiring: "Wiring") -> Digest | None:
    try:
        return live_line(wiring).image
    except MossError:
        return None


def _state_bytes(wiring: "Wiring") -> int | None:
    from moss.adapters.targets.state import tree

    try:
        state = wiring.state
        return tree.measure(state) if state.is_dir() else None
    except (OSError, MossError):
        return None
