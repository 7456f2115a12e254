"""Owns `moss serve`'s loops: tick every active run, scan on a schedule, start sealed batches, deliver, sweep.

Never performs a step itself. Invariant: one loop's error never stops another; a cancelled serve leaves everything as
a killed one would, only sooner.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from moss.domain.ids import RunId
from moss.engine.aftermath import catch_up, sweep
from moss.engine.controller import Controller, Idle
from moss.engine.curator import Curator
from moss.engine.desk import Desk, Wish
from moss.engine.journal import load
from moss.engine.offload import offload
from moss.engine.outbox import Outbox
from moss.engine.parts import Parts
from moss.engine.retention import retain
from moss.errors import MossError, Refused
from moss.ports import RunRow

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two rounds of each loop."""

    tick: float = 0.5
    rest: float = 5.0
    """of a run that waits: so late a consent is seen to have run out, or a soak's look is due"""
    outbox: float = 1.0
    sweep: float = 60.0
    retain: float = 3600.0
    keep_alive: float = 5.0


@dataclass
class Serve:
    """All loops of one controller. `keep_alive` starts what must run beside it (gateway, hold proxy) and is silent
    where it runs."""

    parts: Parts
    controller: Controller
    curator: Curator
    desk: Desk
    outbox: Outbox
    keep_alive: Callable[[], None]
    pace: Pace = field(default_factory=Pace)
    _resting: dict[RunId, tuple[int, float]] = field(default_factory=dict)
    """runs that wait: the entry of their journal they wait at, the monotonic time of the next look"""
    _driven: dict[RunId, asyncio.Task[None]] = field(default_factory=dict)
    """runs at work: a long step of one never keeps another from its own"""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; steps that are being performed are cancelled then and done again after a restart."""
        await offload(catch_up, self.parts.store, self.parts.clock.now())
        every = self.parts.settings.evidence.every_seconds
        loops = [
            self._loop(stop, self.pace.tick, self._ticks),
            self._loop(stop, every, self._scan),
            self._loop(stop, self.pace.outbox, self._deliver),
            self._loop(stop, self.pace.sweep, self._sweep),
            self._loop(stop, self.pace.retain, self._retain),
            self._loop(stop, self.pace.keep_alive, self._keep_alive),
        ]
        tasks = [asyncio.create_task(loop) for loop in loops]
        await stop.wait()
        tasks += self._driven.values()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _loop(self, stop: asyncio.Event, seconds: float, once: Callable[[], Awaitable[None]]) -> None:
        while not stop.is_set():
            try:
                await once()
            except MossError as error:
                log.warning("round failed", loop=once.__name__, error=type(error).__name__, sentence=str(error))
            except Exception:
                # A defect of MOSS, or a disk that refuses: said in the log, and the loop goes on with its next round.
                log.exception("round failed", loop=once.__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)

    async def _ticks(self) -> None:
        rows = await offload(self.parts.store.runs, active=True, limit=1000)
        active = {row.id for row in rows}
        self._resting = {run: rest for run, rest in self._resting.items() if run in active}
        self._driven = {run: task for run, task in self._driven.items() if not task.done()}
        for row in rows:
            if row.id not in self._driven and self._wakes(row):
                self._driven[row.id] = asyncio.create_task(self._drive(row))
        if self._driven:
            await asyncio.wait(self._driven.values(), timeout=self.pace.tick)

    def _wakes(self, row: RunRow) -> bool:
        """A look at a run costs a claim: one that waits is looked at when its journal has grown, and now and then."""
        seq, until = self._resting.get(row.id, (0, 0.0))
        return row.seq != seq or self.parts.clock.monotonic() >= until

    async def _drive(self, row: RunRow) -> None:
        try:
            tick = await self.controller.drive(row.id)
        except MossError as error:
            log.warning("tick failed", run=row.id, error=type(error).__name__, sentence=str(error))
        except Exception:
            # A defect of MOSS in one run: it is on record in the log, and the other runs go on.
            log.exception("tick failed", run=row.id)
        else:
            log.debug("tick", run=row.id, said=tick.says)
            self._resting.pop(row.id, None)
            if tick.idle in (Idle.CONSENT, Idle.SOAK):
                self._resting[row.id] = (row.seq, self.parts.clock.monotonic() + self.pace.rest)

    async def _scan(self) -> None:
        await offload(self.curator.scan)
        await offload(self.curator.seal_ripe)
        if self.parts.settings.policy.start == "auto":
            await offload(self._start_sealed)

    def _start_sealed(self) -> None:
        """Within the policy's hours, and while the day's money lasts, the oldest sealed batch starts by itself."""
        policy, now = self.parts.settings.policy, self.parts.clock.now().astimezone()
        if not policy.start_hours[0] <= now.hour < policy.start_hours[1]:
            return
        day = self.parts.clock.now() - timedelta(days=1)
        recent = [row for row in self.parts.store.runs(limit=1000) if row.started >= day]
        if any(row.outcome is None for row in recent):
            return
        if policy.daily_money_usd is not None and self._spent(recent) >= policy.daily_money_usd:
            return
        oldest = self.curator.oldest_sealed()
        if oldest is not None:
            with contextlib.suppress(Refused):
                self.desk.start(oldest.id, Wish(by="policy"))

    def _spent(self, rows: Sequence[RunRow]) -> float:
        return sum(load(self.parts.store, row.id).spent.money_usd for row in rows)

    async def _deliver(self) -> None:
        await offload(self.outbox.deliver_due)

    async def _sweep(self) -> None:
        await offload(catch_up, self.parts.store, self.parts.clock.now())
        await offload(sweep, self.parts.store, self.parts.boxes, self.parts.settings.home)

    async def _retain(self) -> None:
        dropped = await offload(retain, self.parts, self.parts.clock.now())
        if any(dropped):
            log.info("retention", artifacts=dropped[0], images=dropped[1], snapshots=dropped[2])

    async def _keep_alive(self) -> None:
        await offload(self.keep_alive)
