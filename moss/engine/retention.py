"""Owns what is dropped by and by: old artifacts, candidates that nobody needs, snapshots. The journal stays.

Invariant: nothing goes that a rollback needs: the live image and its base, of each run that can be taken back; nothing
goes that an open run may still read.
"""

from datetime import datetime, timedelta

from moss.domain.events import Outcome, Stage
from moss.domain.ids import Digest
from moss.domain.run import Run
from moss.engine.journal import load
from moss.engine.parts import Parts

LOOKED_AT = 1000
"""runs that are looked at, newest first: older ones have given up what they had"""


def retain(parts: Parts, now: datetime) -> tuple[int, int, int]:
    """Drops what the settings let go: artifacts, images, snapshots; how many of each. Raises: StoreError."""
    runs = [load(parts.store, row.id) for row in parts.store.runs(limit=LOOKED_AT)]
    return _artifacts(parts, runs, now), _images(parts, runs), _snapshots(parts, runs)


def _artifacts(parts: Parts, runs: list[Run], now: datetime) -> int:
    before = now - timedelta(days=parts.settings.retention.artifacts_days)
    return parts.store.drop_artifacts(before, [digest for run in runs if _needed(run) for digest in _diffs(run)])


def _diffs(run: Run) -> list[Digest]:
    return [one.diff for one in run.iterations if one.diff is not None]


def _images(parts: Parts, runs: list[Run]) -> int:
    """Keeps the newest candidates, what is live, and both sides of every run that is open or can be taken back."""
    kept = {parts.target.current().image.digest}
    for run in runs:
        if _needed(run):
            kept |= {run.started.base.image, *_candidates(run)}
    newest = list(dict.fromkeys(image for run in runs for image in reversed(_candidates(run))))
    kept |= set(newest[: parts.settings.retention.candidates])
    known = {run.started.base.image for run in runs} | set(newest)
    gone = [image.digest for image in parts.builder.list() if image.digest in known and image.digest not in kept]
    for digest in gone:
        parts.builder.remove(digest)
    return len(gone)


def _candidates(run: Run) -> list[Digest]:
    return [
        one.build.version.image for one in run.iterations if one.build is not None and one.build.version is not None
    ]


def _snapshots(parts: Parts, runs: list[Run]) -> int:
    """What swaps that are over have kept (snapshots, a container's predecessor), but for the newest few."""
    over = [run for run in runs if run.swap is not None and run.outcome is not None]
    gone = over[parts.settings.retention.snapshots :]
    for run in gone:
        if run.swap is not None:
            parts.target.forget(run.swap.key)
    return len(gone)


def _needed(run: Run) -> bool:
    """Open, resumable, or what it made live may be taken back."""
    open_ends = (None, Outcome.STOPPED, Outcome.FAILED, Outcome.OUT_OF_BUDGET, Outcome.COMMITTED)
    return run.outcome in open_ends or (run.next is not None and run.next.stage is Stage.SOAK)
