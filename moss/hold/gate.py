"""Owns who passes: turns in flight, the hold, those who wait. Never touches a socket, a request or the disk.

Invariant: while a hold lasts no turn enters, and every waiting one is let in, turned away, or has left.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from moss.domain.ids import Key


class TurnedAway(Exception):
    """No place to wait, or the hold ran out. `retry_after`: seconds to tell the client."""

    def __init__(self, sentence: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


@dataclass(slots=True)
class Hold:
    """One hold. `deadline` in the gate's own seconds; `waiting` maps each waiting turn to when it came."""

    key: Key
    deadline: float
    bound: int
    waiting: dict[asyncio.Future[bool], float] = field(default_factory=dict)
    waited: int = 0
    longest: float = 0.0
    refused: int = 0


class Gate:
    """All in one event loop. `now` never goes back."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._changed = asyncio.Event()
        self.in_flight = 0
        self.hold: Hold | None = None

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """One turn on its way to the agent; gives whether it had to wait. Raises: TurnedAway."""
        waited = False
        while self.hold is not None:
            waited = True
            await self._wait(self.hold)
        self.in_flight += 1
        try:
            yield waited
        finally:
            self.in_flight -= 1
            self._changed.set()

    async def drain(self, seconds: float) -> tuple[int, float, bool]:
        """Waits until nothing is in flight: how many ended, seconds it took, whether all did in time."""
        began, flying = self._now(), self.in_flight
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.in_flight:
                    self._changed.clear()
                    await self._changed.wait()
        return max(0, flying - self.in_flight), self._now() - began, self.in_flight == 0

    def begin(self, key: Key, deadline: float, bound: int) -> None:
        """From now on turns wait. Repeated under the same key it changes nothing."""
        if self.hold is None:
            self.hold = Hold(key, deadline, bound)

    def end(self, *, let_in: bool) -> Hold | None:
        """The hold ends: those who wait are let in, in the order they came, or turned away. Gives what it did."""
        hold, self.hold = self.hold, None
        if hold is None:
            return None
        for freed, came in hold.waiting.items():
            hold.longest = max(hold.longest, self._now() - came)
            hold.refused += not let_in
            if not freed.done():
                freed.set_result(let_in)
        return hold

    def remaining(self) -> float | None:
        """Seconds until the hold's deadline, None without a hold."""
        return None if self.hold is None else max(0.0, self.hold.deadline - self._now())

    async def _wait(self, hold: Hold) -> None:
        if len(hold.waiting) >= hold.bound:
            hold.refused += 1
            raise TurnedAway("the agent is being exchanged and too many messages wait already", self._retry_after(hold))
        freed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        hold.waiting[freed] = self._now()
        hold.waited += 1
        try:
            let_in = await freed
        finally:
            hold.longest = max(hold.longest, self._now() - hold.waiting.pop(freed))
        if not let_in:
            raise TurnedAway("the agent was being exchanged and did not come back in time", self._retry_after(hold))

    def _retry_after(self, hold: Hold) -> int:
        return max(1, round(hold.deadline - self._now()))
