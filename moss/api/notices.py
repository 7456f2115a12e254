"""Owns what is asked of notices that no receiver took: which there are, and to send them once more.

Never sends one itself (see `engine.outbox`). Invariant: a notice that is sent again keeps its id, so a receiver that
had it after all can tell.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from moss.api.asks import Nothing
from moss.api.caller import Caller
from moss.api.lines import following
from moss.api.plain import ago, count, plain
from moss.api.says import Done, Say

if TYPE_CHECKING:
    from moss.wiring import Wiring

MOST = 1000
"""Notices that are told, and sent again, in one go."""


class LostNotice(Say):
    """`because`: what the last attempt met."""

    id: str
    kind: str
    run: str | None
    at: datetime
    because: str


class LostNotices(Say):
    notices: tuple[LostNotice, ...]


def notices(wiring: "Wiring", ask: Nothing) -> LostNotices:
    """Those that were given up, newest first."""
    return LostNotices(
        notices=tuple(
            LostNotice(
                id=out.notice.id,
                kind=out.notice.kind,
                run=out.notice.run,
                at=out.notice.at,
                because=plain(out.because, 300),
            )
            for out in wiring.store.undeliverable(MOST)
        )
    )


def retry(wiring: "Wiring", caller: Caller, ask: Nothing) -> Done:
    """All of them are due again, once."""
    now, given_up = wiring.clock.now(), wiring.store.undeliverable(MOST)
    for out in given_up:
        wiring.store.again(out.notice.id, now)
    return Done(says=f"{count(len(given_up), 'notice')} will be sent again by moss serve")


def lines(result: LostNotices, now: datetime) -> list[str]:
    """The list as plain text."""
    rows = [f"{one.kind} {one.run or ''}".strip() for one in result.notices]
    told = [f"{row}, {ago(one.at, now)}: {one.because}" for row, one in zip(rows, result.notices, strict=True)]
    if not told:
        return ["every notice was taken, or still waits for its receiver"]
    return [*told, *following(["moss notices --retry"])]
