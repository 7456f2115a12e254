"""Owns sealed batches and which failures they took. Never who seals them (see `engine.curator`).

Invariant: a failure is in at most one batch that was not given back.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from moss.adapters.stores import pool
from moss.adapters.stores.part import AnyRow, Part, chunks, next_number
from moss.adapters.stores.schema import batches, failures
from moss.domain.batch import Batch, BatchState
from moss.domain.ids import BatchId, FailureId, RunId
from moss.errors import Refused
from moss.ports import BatchRow

_STATE_OF_FAILURES = {BatchState.DONE: pool.FIXED, BatchState.DISMISSED: pool.DISMISSED}


class Batches(Part):
    """A batch's failures follow its state."""

    def seal(self, batch: Batch) -> None:
        sources = list(dict.fromkeys(case.source for case in batch.cases))
        with self._db.write() as connection:
            found = connection.execute(select(batches.c.body).where(batches.c.id == batch.id)).scalar_one_or_none()
            if found is not None:
                if Batch.model_validate_json(found) == batch:
                    return
                raise Refused(f"batch {batch.id} exists already with other cases. Nothing was changed.")
            _refuse_taken(connection, sources)
            connection.execute(
                batches.insert().values(
                    id=batch.id,
                    number=next_number(connection, "batch-row"),
                    label=batch.label,
                    group_by=batch.group_by.value,
                    state=BatchState.SEALED.value,
                    cases=len(batch.cases),
                    guards=len(batch.guards),
                    sealed_at=batch.sealed_at,
                    body=batch.model_dump_json(),
                )
            )
            for some in chunks(sources):
                pool.move(connection, failures.c.id.in_(some), pool.BATCHED, batch=batch.id)

    def new_batch_id(self) -> BatchId:
        with self._db.write() as connection:
            return BatchId(f"b-{next_number(connection, 'batch'):02d}")

    def batch(self, batch: BatchId) -> Batch | None:
        with self._db.read() as connection:
            body = connection.execute(select(batches.c.body).where(batches.c.id == batch)).scalar_one_or_none()
        return Batch.model_validate_json(body) if body is not None else None

    def batches(self, state: BatchState | None = None, limit: int = 100) -> Sequence[BatchRow]:
        columns = [column for column in batches.c if column is not batches.c.body]
        wanted = select(*columns).order_by(batches.c.sealed_at, batches.c.number).limit(limit)
        if state is not None:
            wanted = wanted.where(batches.c.state == state.value)
        with self._db.read() as connection:
            return [_batch_row(row) for row in connection.execute(wanted)]

    def set_batch(self, batch: BatchId, state: BatchState, run: RunId | None, back: Sequence[FailureId] = ()) -> None:
        tied = failures.c.batch == batch
        with self._db.write() as connection:
            changed = connection.execute(
                update(batches).where(batches.c.id == batch).values(state=state.value, run=run)
            )
            if changed.rowcount == 0:
                raise Refused(f"no batch is called {batch}. Nothing was changed.")
            for some in chunks(back):
                pool.move(connection, tied & failures.c.id.in_(some), pool.OPEN, untie=True)
            pool.move(connection, tied, _STATE_OF_FAILURES.get(state, pool.BATCHED))


def _refuse_taken(connection: Connection, sources: Sequence[FailureId]) -> None:
    for some in chunks(sources):
        taken = connection.execute(
            select(failures.c.id, failures.c.batch)
            .where(failures.c.id.in_(some), failures.c.state.in_((pool.BATCHED, pool.FIXED)))
            .limit(1)
        ).one_or_none()
        if taken is not None:
            raise Refused(f"failure {taken.id} is in batch {taken.batch} already. Nothing was changed.")


def _batch_row(row: AnyRow) -> BatchRow:
    return BatchRow(
        id=BatchId(row.id),
        label=row.label,
        group_by=row.group_by,
        state=BatchState(row.state),
        cases=row.cases,
        guards=row.guards,
        sealed_at=row.sealed_at,
        run=RunId(row.run) if row.run is not None else None,
    )
