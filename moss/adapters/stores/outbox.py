"""Owns the rows of the outbox. Never when to try again or when to give up (see `engine.outbox`).

Invariant: a notice's id is taken for good, so an engine that repeats itself after a crash tells nobody twice.
"""

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update

from moss.adapters.stores.dialect import insert_missing
from moss.adapters.stores.part import AnyRow, Part
from moss.adapters.stores.schema import outbox
from moss.domain.ids import RunId
from moss.ports import Notice, Outgoing

_WAITING, _DELIVERED, _GIVEN_UP = "waiting", "delivered", "undeliverable"


class OutboxRows(Part):
    """Notices that wait, that were delivered, and that were given up."""

    def enqueue(self, notice: Notice) -> None:
        row = {
            "id": notice.id,
            "kind": notice.kind,
            "at": notice.at,
            "run": notice.run,
            "body": json.dumps(dict(notice.body), ensure_ascii=True, allow_nan=False),
            "state": _WAITING,
            "attempts": 0,
            "due": notice.at,
            "taken": "[]",
            "because": "",
        }
        with self._db.write() as connection:
            insert_missing(connection, outbox, [row])

    def due(self, now: datetime, limit: int = 10) -> Sequence[Outgoing]:
        wanted = select(outbox).where(outbox.c.state == _WAITING, outbox.c.due <= now)
        with self._db.read() as connection:
            rows = connection.execute(wanted.order_by(outbox.c.due, outbox.c.id).limit(limit))
            return [_outgoing(row) for row in rows]

    def delivered(self, notice_id: str) -> None:
        with self._db.write() as connection:
            connection.execute(update(outbox).where(outbox.c.id == notice_id).values(state=_DELIVERED))

    def postpone(self, notice_id: str, until: datetime, taken: Sequence[str] = (), because: str = "") -> None:
        with self._db.write() as connection:
            row = connection.execute(select(outbox).where(outbox.c.id == notice_id)).one_or_none()
            if row is None:
                return
            names = list(dict.fromkeys([*json.loads(row.taken), *taken]))
            connection.execute(
                update(outbox)
                .where(outbox.c.id == notice_id)
                .values(attempts=row.attempts + 1, due=until, taken=json.dumps(names), because=because)
            )

    def give_up(self, notice_id: str, because: str) -> None:
        with self._db.write() as connection:
            values = {"state": _GIVEN_UP, "because": because}
            connection.execute(update(outbox).where(outbox.c.id == notice_id).values(**values))

    def undeliverable(self, limit: int = 100) -> Sequence[Outgoing]:
        wanted = select(outbox).where(outbox.c.state == _GIVEN_UP)
        with self._db.read() as connection:
            rows = connection.execute(wanted.order_by(outbox.c.at.desc(), outbox.c.id.desc()).limit(limit))
            return [_outgoing(row) for row in rows]

    def again(self, notice_id: str, due: datetime) -> None:
        with self._db.write() as connection:
            given_up = (outbox.c.id == notice_id) & (outbox.c.state == _GIVEN_UP)
            connection.execute(update(outbox).where(given_up).values(state=_WAITING, due=due))


def _outgoing(row: AnyRow) -> Outgoing:
    run = RunId(row.run) if row.run is not None else None
    notice = Notice(row.id, row.kind, row.at, run, json.loads(row.body))
    return Outgoing(notice, row.attempts, row.due, tuple(json.loads(row.taken)), row.because)
