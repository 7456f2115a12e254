"""Owns where each failure is (pool, batch, fixed, dismissed) and the counts that lists are made of.

Never reads a failure's text. Invariant: `open` and `batched` of a fingerprint, and `open` of a session, are the
numbers of its failures in that state; `add` and `move` are the only ways to change either.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, func, null, select, update

from moss.adapters.stores.dialect import insert_missing
from moss.adapters.stores.part import chunks
from moss.adapters.stores.schema import failures, fingerprint_users, fingerprints, session_pool
from moss.domain.evidence import Failure
from moss.domain.ids import BatchId, Fingerprint

OPEN, BATCHED, FIXED, DISMISSED = "open", "batched", "fixed", "dismissed"


def add(connection: Connection, new: Sequence[Failure]) -> None:
    """Puts failures that were never seen into the pool; a closed fingerprint is open again."""
    rows = [
        {
            "id": failure.id,
            "fingerprint": failure.fingerprint,
            "session": failure.turn.session,
            "at": failure.turn.at,
            "state": OPEN,
            "body": failure.model_dump_json(),
        }
        for failure in new
    ]
    if not rows:
        return
    connection.execute(failures.insert(), rows)
    groups: defaultdict[Fingerprint, list[Failure]] = defaultdict(list)
    for failure in new:
        groups[failure.fingerprint].append(failure)
    for name, group in groups.items():
        _count(connection, name, group)
    _count_sessions(connection, Counter(failure.turn.session for failure in new))


def move(
    connection: Connection,
    which: ColumnElement[bool],
    state: str,
    *,
    batch: BatchId | None = None,
    untie: bool = False,
    because: str | None = None,
) -> int:
    """Moves the failures of `which` to `state`; ties them to `batch`, or `untie`s them. How many there were."""
    groups = connection.execute(
        select(failures.c.fingerprint, failures.c.session, failures.c.state, func.count())
        .where(which)
        .group_by(failures.c.fingerprint, failures.c.session, failures.c.state)
    ).all()
    values: dict[str, Any] = {"state": state}
    if batch is not None or untie:
        values["batch"] = batch
    if because is not None:
        values["because"] = because
    connection.execute(update(failures).where(which).values(**values))
    opened, batched, sessions = Counter[str](), Counter[str](), Counter[str]()
    for name, session, was, count in groups:
        opened[name] += count * ((state == OPEN) - (was == OPEN))
        batched[name] += count * ((state == BATCHED) - (was == BATCHED))
        sessions[session] += count * ((state == OPEN) - (was == OPEN))
    _shift(connection, opened, batched, state, batch)
    _count_sessions(connection, sessions)
    return sum(count for *_, count in groups)


def settle(connection: Connection, names: Iterable[str], closed: str) -> None:
    """A fingerprint is closed when nothing of it is in the pool or in a batch that goes on."""
    living = (fingerprints.c.open > 0) | (fingerprints.c.batched > 0)
    for some in chunks(list(names)):
        connection.execute(
            update(fingerprints)
            .where(fingerprints.c.fingerprint.in_(some))
            .values(
                closed=case((living, null()), else_=closed),
                reopened=case((living, fingerprints.c.reopened), else_=False),
            )
        )


def state(opened: int, batched: int, closed: str | None, reopened: bool) -> str:
    """The one word that a list shows for a fingerprint."""
    if batched:
        return BATCHED
    if opened:
        return "reopened" if reopened else OPEN
    return closed or FIXED


def _count(connection: Connection, name: Fingerprint, group: Sequence[Failure]) -> None:
    latest = max(group, key=lambda failure: (failure.turn.at, failure.id))
    users = _new_users(connection, name, {one.turn.user_id or one.turn.session for one in group})
    where = fingerprints.c.fingerprint == name
    row = connection.execute(select(fingerprints).where(where)).one_or_none()
    if row is None:
        connection.execute(
            fingerprints.insert().values(
                fingerprint=name,
                seen=len(group),
                users=users,
                last=latest.turn.at,
                example=latest.example,
                open=len(group),
                batched=0,
                reopened=False,
            )
        )
        return
    values: dict[str, Any] = {
        "seen": row.seen + len(group),
        "users": row.users + users,
        "open": row.open + len(group),
    }
    if latest.turn.at >= row.last:
        values |= {"last": latest.turn.at, "example": latest.example}
    if row.closed is not None:
        values |= {"closed": None, "reopened": True}
    connection.execute(update(fingerprints).where(where).values(**values))


def _new_users(connection: Connection, name: Fingerprint, users: set[str]) -> int:
    fresh = set(users)
    for some in chunks(sorted(users)):
        known = select(fingerprint_users.c.user).where(
            fingerprint_users.c.fingerprint == name, fingerprint_users.c.user.in_(some)
        )
        fresh -= set(connection.execute(known).scalars())
    insert_missing(connection, fingerprint_users, [{"fingerprint": name, "user": user} for user in fresh])
    return len(fresh)


def _shift(
    connection: Connection,
    opened: Mapping[str, int],
    batched: Mapping[str, int],
    state: str,
    batch: BatchId | None,
) -> None:
    for name in opened:
        values: dict[str, Any] = {
            "open": fingerprints.c.open + opened[name],
            "batched": fingerprints.c.batched + batched[name],
        }
        if batch is not None:
            values["batch"] = batch
        connection.execute(update(fingerprints).where(fingerprints.c.fingerprint == name).values(**values))
    settle(connection, opened, DISMISSED if state == DISMISSED else FIXED)


def _count_sessions(connection: Connection, changes: Mapping[str, int]) -> None:
    changed = {name: by for name, by in changes.items() if by}
    insert_missing(connection, session_pool, [{"session": name, "open": 0} for name in changed])
    for name, by in changed.items():
        where = session_pool.c.session == name
        connection.execute(update(session_pool).where(where).values(open=session_pool.c.open + by))
    for some in chunks(list(changed)):
        connection.execute(delete(session_pool).where(session_pool.c.session.in_(some), session_pool.c.open <= 0))
