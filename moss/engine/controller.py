"""Owns the loop: claim a run, decide, perform, settle, append, repeat. The only place that catches `Exception`.

Never decides what follows what (see `domain.machine`) and never touches an adapter by itself (see `perform`).
Invariant: nothing is performed without a claim, and nothing is recorded after the claim was lost.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from moss.domain import machine
from moss.domain.budget import Spend
from moss.domain.events import Ended, Reserved
from moss.domain.ids import RunId
from moss.domain.machine import Do, Done
from moss.domain.run import Run
from moss.engine.aftermath import follow
from moss.engine.faults import step_failed
from moss.engine.journal import Journal, load
from moss.engine.offload import offload
from moss.engine.parts import Parts
from moss.errors import ClaimLost, MossError, StoreError

LEASE = 6.0
"""seconds a claim holds without a heartbeat: a controller that was killed in mid-swap is followed within ten"""
PAUSED = "paused"
"""the fact that `moss pause --all` sets"""

log = structlog.get_logger()

Perform = Callable[[Run, Do, Journal], Awaitable[Done]]


class Controller:
    """Ticks runs. `owner` names this process; `perform` does one step."""

    def __init__(self, parts: Parts, perform: Perform, owner: str, *, lease: float = LEASE) -> None:
        self._parts, self._perform, self._owner, self._lease = parts, perform, owner, lease

    async def tick(self, run_id: RunId) -> str:
        """Takes one step of a run if there is one to take; a sentence about it.

        Raises: StoreError, UserError (no such run).
        """
        return await self.drive(run_id, steps=1)

    async def drive(self, run_id: RunId, steps: int = 10_000) -> str:
        """Takes steps under one claim until the run waits or ends, at most `steps`; the last sentence.

        Raises: StoreError, UserError (no such run).
        """
        journal = await self._claimed(run_id)
        if journal is None:
            return f"{_IDLE} {run_id} is another controller's"
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

    async def _steps(self, journal: Journal, steps: int) -> str:
        said = await self._step(journal)
        for _ in range(steps - 1):
            if said.startswith(_IDLE):
                break
            await offload(follow, self._parts.store, journal.run, self._parts.clock.now())
            await journal.refresh()
            said = await self._step(journal)
        return said

    async def _step(self, journal: Journal) -> str:
        run = journal.run
        do = machine.decide(run, self._parts.clock.now())
        if do is None:
            return f"{_IDLE} {run.id} {waits_for(run)}"
        if await self._braked(run):
            return f"{_IDLE} {run.id} is paused"
        if isinstance(do, Ended):
            await journal.record(do)
            return f"{run.id} ended {do.outcome}: {do.because}"
        with structlog.contextvars.bound_contextvars(stage=str(do.step.stage), key=do.key):
            return await self._do(journal, do)

    async def _do(self, journal: Journal, do: Do) -> str:
        if do.reserve != Spend():
            await journal.record(Reserved(key=do.key, amount=do.reserve))
        done = await self._performed(journal, do)
        event = machine.settle(journal.run, do, done, self._parts.clock.now())
        await journal.record(event)
        log.info("step", says=event.says, next=str(event.next.stage) if event.next else event.outcome)
        return f"{journal.run.id} {do.step.stage}: {event.says}"

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
            yield
        except asyncio.CancelledError:
            if lost:
                raise ClaimLost(str(lost[0])) from None
            raise
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

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


_IDLE = "idle:"


def rests(said: str) -> bool:
    """Whether a drive's sentence says that the run waits for a person or for its time."""
    return said.startswith(_IDLE) and " waits for " in said


def waits_for(run: Run) -> str:
    """What a run that has nothing to do waits for, as words after its name."""
    if run.outcome is not None:
        return f"ended {run.outcome}"
    if run.next is not None and run.next.stage.value == "consent":
        return "waits for consent"
    return "waits for its soak"


def _known(error: Exception) -> bool:
    return isinstance(error, MossError)
