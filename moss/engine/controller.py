"""Owns the loop: claim a run, decide, perform, settle, append, repeat. The only place that catches `Exception`.

Never decides what follows what (see `domain.machine`) and never touches an adapter by itself (see `perform`).
Invariant: nothing is performed without a claim, and nothing is recorded after the claim was lost.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from moss.domain import machine
from moss.domain.budget import Spend
from moss.domain.events import Ended, Reserved, Stage
from moss.domain.facts import PAUSED
from moss.domain.ids import RunId
from moss.domain.machine import Do, Done
from moss.domain.run import Run
from moss.engine.aftermath import follow
from moss.engine.faults import step_failed
from moss.engine.journal import Journal, load
from moss.engine.notices import is_news
from moss.engine.offload import offload
from moss.engine.parts import Parts
from moss.errors import ClaimLost, MossError, StoreError

LEASE = 6.0
"""seconds a claim holds without a heartbeat: a controller that was killed in mid-swap is followed within ten"""

log = structlog.get_logger()

Perform = Callable[[Run, Do, Journal], Awaitable[Done]]


class Idle(StrEnum):
    """Why no step was taken."""

    TAKEN = "taken"
    """another controller has the run"""
    PAUSED = "paused"
    ENDED = "ended"
    CONSENT = "consent"
    """it waits for a person"""
    SOAK = "soak"
    """it waits for its time"""


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick did, as one sentence. `idle`: no step was taken, and why. `news`: others want to be told now."""

    says: str
    idle: Idle | None = None
    news: bool = False


class Controller:
    """Ticks runs. `owner` names this process; `perform` does one step."""

    def __init__(self, parts: Parts, perform: Perform, owner: str, *, lease: float = LEASE) -> None:
        self._parts, self._perform, self._owner, self._lease = parts, perform, owner, lease

    async def tick(self, run_id: RunId) -> Tick:
        """Takes one step of a run if there is one to take.

        Raises: StoreError, UserError (no such run).
        """
        return await self.drive(run_id, steps=1)

    async def drive(self, run_id: RunId, steps: int = 10_000) -> Tick:
        """Takes steps under one claim until the run waits or ends, at most `steps`; the last one.

        Raises: StoreError, UserError (no such run).
        """
        journal = await self._claimed(run_id)
        if journal is None:
            return Tick(f"{run_id} is another controller's", Idle.TAKEN)
        with structlog.contextvars.bound_contextvars(run=run_id):
            try:
                async with self._heartbeat(journal):
                    return await self._steps(journal, steps)
            finally:
                with contextlib.suppress(StoreError):
                    await offload(follow, self._parts.store, journal.run, self._parts.clock.now())
                    await offload(self._parts.store.release, journal.claim)

    async def _claimed(self, run_id: RunId) -> Journal | None:
        """The run's journal under a claim, None while another controller has it."""
        store = self._parts.store
        claim = await offload(store.claim, run_id, self._owner, self._lease)
        if claim is None:
            return None
        try:
            run = await offload(load, store, run_id)
        except MossError:
            await offload(store.release, claim)  # a newer MOSS may be waiting for it
            raise
        return Journal(store, self._parts.clock, run, claim)

    async def _steps(self, journal: Journal, steps: int) -> Tick:
        last = await self._step(journal)
        for taken in range(1, steps):
            if last.idle is not None:
                break
            if taken == 1 or last.news:
                await offload(follow, self._parts.store, journal.run, self._parts.clock.now())
            await journal.refresh()
            last = await self._step(journal)
        return last

    async def _step(self, journal: Journal) -> Tick:
        run = journal.run
        do = machine.decide(run, self._parts.clock.now())
        if do is None:
            return waiting(run)
        if await self._braked(run):
            return Tick(f"{run.id} is paused", Idle.PAUSED)
        if isinstance(do, Ended):
            await journal.record(do)
            return Tick(f"{run.id} ended {do.outcome}: {do.because}")
        with structlog.contextvars.bound_contextvars(stage=str(do.step.stage), key=do.key):
            return await self._do(journal, do)

    async def _do(self, journal: Journal, do: Do) -> Tick:
        if do.reserve != Spend():
            await journal.record(Reserved(key=do.key, amount=do.reserve))
        done = await self._performed(journal, do)
        event = machine.settle(journal.run, do, done, self._parts.clock.now())
        await journal.record(event)
        log.info("step", says=event.says, next=str(event.next.stage) if event.next else event.outcome)
        return Tick(f"{journal.run.id} {do.step.stage}: {event.says}", news=is_news(event))

    async def _performed(self, journal: Journal, do: Do) -> Done:
        began = self._parts.clock.monotonic()
        try:
            return await self._perform(journal.run, do, journal)
        except StoreError:
            raise  # nothing can be recorded: the claim runs out and the step is done again
        except Exception as error:
            # What was reserved counts as spent: a step that failed has no meter to ask.
            log.warning("step failed", error=type(error).__name__, sentence=str(error), exc_info=not _known(error))
            seconds = self._parts.clock.monotonic() - began
            reserved = journal.run.reserved.get(do.key, Spend())
            return Done(step_failed(error), spent=reserved.model_copy(update={"seconds": seconds}), seconds=seconds)

    async def _braked(self, run: Run) -> bool:
        """The brake holds everything but an open swap: users wait behind that one."""
        return machine.at_safe_point(run) and await offload(self._parts.store.fact, PAUSED) is not None

    @contextlib.asynccontextmanager
    async def _heartbeat(self, journal: Journal) -> AsyncIterator[None]:
        """Renews the claim while the body works; a lost claim ends the body with `ClaimLost`."""
        lost: list[StoreError] = []
        task = asyncio.create_task(self._beat(journal, asyncio.current_task(), lost))
        try:
            try:
                yield
            finally:
                task.cancel()
                # not `await task`: that would take an interruption of the worker for the end of the heartbeat
                await asyncio.wait({task})
        except asyncio.CancelledError:
            if lost:
                raise ClaimLost(str(lost[0])) from None
            raise
        if not task.cancelled():
            task.result()

    async def _beat(self, journal: Journal, worker: "asyncio.Task[object] | None", lost: list[StoreError]) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await journal.renew(self._lease)
            except StoreError as error:
                lost.append(error)
                if worker is not None:
                    worker.cancel()
                return


def waiting(run: Run) -> Tick:
    """What a run that has nothing to do waits for."""
    if run.outcome is not None:
        return Tick(f"{run.id} ended {run.outcome}", Idle.ENDED)
    if run.next is not None and run.next.stage is Stage.CONSENT:
        return Tick(f"{run.id} waits for consent", Idle.CONSENT)
    return Tick(f"{run.id} waits for its soak", Idle.SOAK)


def _known(error: Exception) -> bool:
    return isinstance(error, MossError)
