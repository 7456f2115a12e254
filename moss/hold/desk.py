"""Owns what the controller may ask of the proxy, and the hold's own deadline. Never sees a message.

Invariant: nothing is answered that a restart of the proxy would not remember. The deadline needs no controller: a
hold whose controller was killed ends by itself.
"""

import asyncio
import os
from collections.abc import Callable
from typing import assert_never

from pydantic import BaseModel

from moss.daemon.machine import boot_id
from moss.domain.ids import Key
from moss.errors import TargetError
from moss.hold.gate import Gate
from moss.hold.memory import Kept, KeptHold, Memory
from moss.hold.options import HoldOptions
from moss.hold.words import (
    AnsweredSays,
    AskAnswered,
    AskStatus,
    Backend,
    Done,
    HeldSays,
    HoldNow,
    Quit,
    ReleasedSays,
    ReleaseNow,
    Request,
    SetBackend,
    SettleNow,
    StatusSays,
)


class Sockets:
    """The open WebSockets. They are no turns: at the end of a drain they are closed, the clients connect again."""

    def __init__(self) -> None:
        self.open: set[asyncio.Event] = set()

    def close_all(self) -> None:
        for closing in self.open:
            closing.set()


class Desk:
    """One proxy's control. `now` is the machine's monotonic clock."""

    def __init__(self, options: HoldOptions, memory: Memory, now: Callable[[], float]) -> None:
        self._options, self._memory, self._now = options, memory, now
        self._timer: asyncio.TimerHandle | None = None
        self.gate = Gate(now)
        self.sockets = Sockets()
        self.quit = asyncio.Event()
        self.answered = 0
        self._resume()

    @property
    def backend(self) -> Backend | None:
        return self._memory.kept.backend

    @property
    def logging(self) -> Key | None:
        """The swap whose answered messages are logged at this moment."""
        return self._memory.kept.logging

    async def act(self, request: Request) -> BaseModel:
        """Raises: TargetError when another swap holds."""
        match request:
            case SetBackend(backend=backend):
                self._memory.change(lambda kept: kept.model_copy(update={"backend": backend}))
                return Done()
            case HoldNow():
                return await self._hold(request)
            case ReleaseNow(key=key):
                return self._release(key)
            case SettleNow(key=key):
                return self._settle(key)
            case AskAnswered(key=key):
                return AnsweredSays(lines=self._memory.answered(key))
            case AskStatus():
                return self._status()
            case Quit():
                self.quit.set()
                return Done()
            case _ as never:
                assert_never(never)

    def close(self) -> None:
        """The process ends: nobody is let in by it."""
        if self._timer is not None:
            self._timer.cancel()

    async def _hold(self, asked: HoldNow) -> HeldSays:
        held = self.gate.hold
        if held is not None and held.key != asked.key:
            raise TargetError(f"the proxy is held by {held.key} already, not by {asked.key}")
        if held is None:
            self._begin(asked)
        drained, seconds, complete = await self.gate.drain(asked.drain_seconds)
        if self.gate.hold is not None:
            self.sockets.close_all()
        return HeldSays(drained=drained, seconds=seconds, complete=complete)

    def _begin(self, asked: HoldNow) -> None:
        lapsed, now = self._lapsed(asked.key), self.backend.boot if self.backend else ""
        if self.logging not in (None, asked.key):
            self._memory.drop_log(self.logging)
        kept = KeptHold(
            key=asked.key,
            deadline=self._now() + asked.deadline_seconds,
            machine_boot=boot_id(),
            waiting=asked.waiting,
            backend_boot=lapsed.backend_boot if lapsed else now,
        )
        self._memory.change(lambda old: old.model_copy(update={"hold": kept, "lapsed": lapsed, "logging": None}))
        self._hold_again(kept)

    def _lapsed(self, key: Key) -> KeptHold | None:
        lapsed = self._memory.kept.lapsed
        return lapsed if lapsed is not None and lapsed.key == key else None

    def _hold_again(self, kept: KeptHold) -> None:
        self.gate.begin(kept.key, kept.deadline, kept.waiting)
        self._timer = asyncio.get_running_loop().call_later(max(0.0, kept.deadline - self._now()), self._lapse)

    def _resume(self) -> None:
        """After a crash: a hold of this run of the machine lasts on, an older one is over."""
        kept = self._memory.kept.hold
        if kept is None:
            return
        if kept.machine_boot == boot_id() and kept.deadline > self._now():
            self._hold_again(kept)
        else:
            says, logging = ReleasedSays(key=kept.key), self._log_of_lapsed(kept)
            self._memory.change(lambda old: _let_go(old, says, logging, lapsed=kept))

    def _release(self, key: Key) -> ReleasedSays:
        kept = self._memory.kept.hold
        if kept is None or kept.key != key:
            last = self._memory.kept.released
            return last if last is not None and last.key == key else ReleasedSays(key=key)
        logging = self._worth_a_log(kept)
        if logging:
            self._memory.open_log(key)
        return self._end(kept, let_in=True, logging=key if logging else None)

    def _worth_a_log(self, kept: KeptHold) -> bool:
        """Another start of the agent, and the swap's first release: what the old version answers after a restore is
        not at stake, nor is anything when the hold was let go with nothing changed."""
        first = not self._memory.was_logged(kept.key) or self._lapsed(kept.key) is not None
        return self._started(kept) and first

    def _started(self, kept: KeptHold) -> bool:
        return self.backend is not None and self.backend.boot != kept.backend_boot

    def _lapse(self) -> None:
        kept = self._memory.kept.hold
        if self.gate.hold is not None and kept is not None:
            self._end(kept, let_in=False, logging=self._log_of_lapsed(kept))

    def _log_of_lapsed(self, kept: KeptHold) -> Key | None:
        """Nobody says yet which version will stay: whatever another start of the agent answers is at stake."""
        if not self._started(kept):
            return None
        self._memory.open_log(kept.key)
        return kept.key

    def _end(self, kept: KeptHold, *, let_in: bool, logging: Key | None) -> ReleasedSays:
        # The gate first: a disk that refuses must not keep users waiting. They run only after this returns.
        self.close()
        did, before = self.gate.end(let_in=let_in), self._memory.kept.released
        assert did is not None
        says = ReleasedSays(key=kept.key, waited=did.waited, longest_wait=did.longest, refused=did.refused)
        if before is not None and self._lapsed(kept.key) is not None:
            says = _both(before, says)
        self._memory.change(lambda old: _let_go(old, says, logging, lapsed=None if let_in else kept))
        return says

    def _settle(self, key: Key) -> Done:
        self._memory.change(lambda old: old.model_copy(update={"logging": None if old.logging == key else old.logging}))
        self._memory.drop_log(key)
        return Done()

    def _status(self) -> StatusSays:
        hold = self.gate.hold
        return StatusSays(
            pid=os.getpid(),
            listen=f"{self._options.host}:{self._options.port}",
            backend=self.backend,
            held=hold.key if hold else None,
            remaining=self.gate.remaining(),
            waiting=len(hold.waiting) if hold else 0,
            in_flight=self.gate.in_flight,
            sockets=len(self.sockets.open),
            answered=self.answered,
        )


def _both(one: ReleasedSays, other: ReleasedSays) -> ReleasedSays:
    return ReleasedSays(
        key=other.key,
        waited=one.waited + other.waited,
        longest_wait=max(one.longest_wait, other.longest_wait),
        refused=one.refused + other.refused,
    )


def _let_go(kept: Kept, says: ReleasedSays, logging: Key | None, *, lapsed: KeptHold | None) -> Kept:
    return kept.model_copy(update={"hold": None, "released": says, "lapsed": lapsed, "logging": logging})
