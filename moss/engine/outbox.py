"""Owns when a notice is sent, sent again, or given up. Never what is worth telling (see `notices`).

Invariant: a notice leaves the outbox only when every notifier took it, or, after at least one attempt, when it is
older than `Patience.age`; then it is kept as undeliverable, with the reason. Receivers may see a notice twice (its
id tells), never not at all without a trace. All of it is in the store, so a restart goes on where it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from moss.errors import MossError
from moss.ports import Clock, Notifier, Outgoing, Store

log = structlog.get_logger()

_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the outbox tries: the first pause, the longest one, and the age at which it gives up."""

    first: timedelta = timedelta(seconds=5)
    longest: timedelta = timedelta(minutes=10)
    age: timedelta = timedelta(days=2)

    def pause(self, attempts: int, jitter: float) -> timedelta:
        """Before the next attempt: doubled each time, and between half and all of it by `jitter` (0..1)."""
        whole = min(self.longest, self.first * (1 << min(attempts, 30)))
        return whole * (0.5 + jitter / 2)


class Outbox:
    """`jitter` gives numbers from 0 to 1, so that many receivers' retries do not fall together."""

    def __init__(
        self,
        store: Store,
        notifiers: Sequence[Notifier],
        clock: Clock,
        *,
        jitter: Callable[[], float] = lambda: 1.0,
        patience: Patience = Patience(),
    ) -> None:
        self._store = store
        self._notifiers = tuple(notifiers)
        self._clock = clock
        self._jitter = jitter
        self._patience = patience
        self._wall, self._monotonic = clock.now(), clock.monotonic()

    def deliver_due(self, limit: int = 100) -> int:
        """Sends what is due, at most `limit` notices; how many are done with. Raises: StoreError."""
        down: dict[str, str] = {}
        done = tried = 0
        while tried < limit:
            found = self._store.due(self._now(), min(_AT_ONCE, limit - tried))
            if not found:
                break
            tried += len(found)
            done += sum(self._deliver(out, down) for out in found)
        return done

    def _deliver(self, out: Outgoing, down: dict[str, str]) -> bool:
        """Whether every notifier has it now. `down`: who failed in this round, and is asked no more in it."""
        taken = list(out.taken)
        because = ""
        for notifier in self._notifiers:
            if notifier.name in taken:
                continue
            if notifier.name not in down and (fault := _send(notifier, out)):
                down[notifier.name] = fault
            if notifier.name in down:
                because = because or down[notifier.name]
            else:
                taken.append(notifier.name)
        if not because:
            self._store.delivered(out.notice.id)
            return True
        self._wait_or_give_up(out, taken, because)
        return False

    def _wait_or_give_up(self, out: Outgoing, taken: Sequence[str], because: str) -> None:
        now, notice = self._now(), out.notice
        pause = self._patience.pause(out.attempts, self._jitter())
        self._store.postpone(notice.id, now + pause, taken, because)
        if now - notice.at > self._patience.age:
            self._store.give_up(notice.id, because)
            log.error("notice undeliverable", notice=notice.id, kind=notice.kind, because=because)
        else:
            log.warning("notice not taken", notice=notice.id, attempts=out.attempts + 1, because=because)

    def _now(self) -> datetime:
        """Wall time that never goes back while this process lives: a clock set back an hour delays no notice."""
        elapsed = timedelta(seconds=self._clock.monotonic() - self._monotonic)
        return max(self._clock.now(), self._wall + elapsed)


def _send(notifier: Notifier, out: Outgoing) -> str | None:
    """None when the notifier took it, else why not."""
    try:
        notifier.send(out.notice)
    except MossError as error:
        return f"{notifier.name}: {error}"[:500]
    return None
