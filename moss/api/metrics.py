"""Owns the figures for Prometheus: counted from the journal as it grows, since this process began.

Never reads a whole journal of the past: counters begin at zero with a process, as Prometheus expects. Invariant: an
entry is counted once, whatever scrapes come.
"""

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from moss.api.story import read
from moss.domain.events import Ended, StepDone, SwapResult, TrialEnded
from moss.domain.ids import RunId
from moss.domain.swap import Phase
from moss.ports import RunRow, Store

PAGE = 1000
HELD = (0.5, 1, 2, 3, 5, 8, 13, 30, 60)


class Metrics:
    """The figures of one process, from `began` on."""

    def __init__(self, began: datetime) -> None:
        self._registry = CollectorRegistry()
        self._read: dict[RunId, int] = {}
        self._since = began
        self._active = Gauge("moss_runs_active", "runs that have not ended", registry=self._registry)
        self._waiting = Gauge("moss_runs_waiting", "runs that wait for a person", registry=self._registry)
        self._ended = Counter("moss_runs_ended", "runs by outcome", ["outcome"], registry=self._registry)
        self._trials = Counter("moss_trials", "trials by result", ["result"], registry=self._registry)
        self._held = Histogram(
            "moss_held_seconds", "longest wait of a message in a swap", buckets=HELD, registry=self._registry
        )
        self._refused = Counter("moss_refused", "messages that a hold answered with 503", registry=self._registry)
        self._money = Counter("moss_spent_usd", "money spent, by stage", ["stage"], registry=self._registry)
        self._tokens = Counter("moss_spent_tokens", "tokens spent, by stage", ["stage"], registry=self._registry)

    def scrape(self, store: Store) -> bytes:
        """The text of all figures, brought up to date."""
        active = store.runs(active=True, limit=PAGE)
        for row in (*active, *(one for one in store.runs(limit=PAGE) if one.updated >= self._since)):
            self._follow(store, row)
        self._active.set(len(active))
        self._waiting.set(sum(row.stage == "consent" for row in active))
        return generate_latest(self._registry)

    def _follow(self, store: Store, row: RunRow) -> None:
        """What the run's journal says since the last look; what was there before this process is not counted."""
        after = self._read.get(row.id, 0)
        for entry in store.entries(row.id, after):
            if entry.at >= self._since and (event := read(entry)) is not None:
                self._count(event)
            after = entry.seq
        self._read[row.id] = after

    def _count(self, event: object) -> None:
        match event:
            case TrialEnded(trial=trial):
                self._trials.labels("invalid" if not trial.valid else "passed" if trial.passed else "failed").inc()
            case Ended(outcome=outcome):
                self._ended.labels(outcome).inc()
            case StepDone():
                self._step(event)

    def _step(self, event: StepDone) -> None:
        self._money.labels(event.step.stage).inc(event.spent.money_usd)
        self._tokens.labels(event.step.stage).inc(event.spent.tokens)
        if event.outcome is not None:
            self._ended.labels(event.outcome).inc()
        if isinstance(event.result, SwapResult) and event.result.performed in (Phase.RELEASE, Phase.R_RELEASE):
            self._held.observe(event.result.phase.longest_wait or 0.0)
            self._refused.inc(event.result.phase.refused or 0)
