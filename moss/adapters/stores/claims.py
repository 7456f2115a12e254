"""Owns claims: who may act on a run, and for how long without a sign of life.

Never judged by wall time: a clock set back an hour would freeze a run for an hour, and one set forward would give it
to two owners. Two rules that no jump of a wall clock can touch decide that a claim has run out:
1. It was made on this same host (same boot of the same kernel): its deadline is in the host's monotonic clock, which
   all processes share, so a controller started anew at once knows whether its predecessor's claim has run out.
2. It was made elsewhere (another host, or before a reboot): this store watches the claim's beat, and when it stood
   still for the claim's whole length by this process's own monotonic clock, its owner is gone.
`expires` is written for people. Invariant: the token changes when the owner does, and an append checks it in its own
transaction, so an owner who slept too long can write nothing.
"""

import uuid
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection, bindparam, delete, select

from moss.adapters.stores.database import Database
from moss.adapters.stores.dialect import upsert
from moss.adapters.stores.part import AnyRow, Part
from moss.adapters.stores.schema import claims
from moss.domain.ids import RunId
from moss.errors import ClaimLost
from moss.ports import Claim, Clock

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SLACK = 1.0
_CLAIM = select(claims).where(claims.c.run == bindparam("run"))
"""built once: it is asked at each append"""


def this_host() -> str:
    """One boot of one kernel. Where the system does not say, this process alone: rule 2 then covers the rest."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return f"process-{uuid.uuid4().hex}"


@dataclass(frozen=True, slots=True)
class _Sight:
    """When a foreign claim's beat was first seen, by this process's monotonic clock."""

    token: str
    beat: int
    since: float


class Claims(Part):
    """`host` and the clock's `monotonic` belong together: processes that share one must share the other."""

    def __init__(self, database: Database, clock: Clock, host: str | None = None) -> None:
        Part.__init__(self, database, clock)
        self._host = host or this_host()
        self._sights: dict[RunId, _Sight] = {}

    def claim(self, run: RunId, owner: str, seconds: float) -> Claim | None:
        with self._db.write() as connection:
            row = connection.execute(_CLAIM, {"run": run}).one_or_none()
            if row is None or (row.owner != owner and self._over(row)):
                fresh = Claim(run, owner, uuid.uuid4().hex, self._clock.now())
                return self._grant(connection, fresh, seconds, row.beat + 1 if row else 1)
            if row.owner != owner:
                return None
            return self._grant(connection, Claim(run, owner, row.token, row.expires), seconds, row.beat + 1)

    def renew(self, claim: Claim, seconds: float) -> Claim:
        with self._db.write() as connection:
            beat = self._held(connection, claim, claim.run)
            return self._grant(connection, claim, seconds, beat + 1)

    def release(self, claim: Claim) -> None:
        with self._db.write() as connection:
            connection.execute(delete(claims).where(claims.c.run == claim.run, claims.c.token == claim.token))

    def _held(self, connection: Connection, claim: Claim, run: RunId) -> int:
        """The claim's beat. Raises: ClaimLost when `claim` is not the one that holds `run` now."""
        row = connection.execute(_CLAIM, {"run": run}).one_or_none()
        if row is None or row.token != claim.token:
            holder = f"{row.owner} holds it" if row else "nobody does"
            raise ClaimLost(f"{claim.owner} no longer holds {run}: {holder}. Nothing was written.")
        if self._over(row):
            raise ClaimLost(f"{claim.owner}'s claim on {run} ran out. Nothing was written; claim it again.")
        return int(row.beat)

    def _over(self, row: AnyRow) -> bool:
        """Whether the owner of a claim gave no sign of life for the claim's length."""
        now = self._clock.monotonic()
        # A deadline further away than the claim is long was not made by this clock, whatever the host's name says.
        if row.host == self._host and row.until - now <= row.seconds + _SLACK:
            return bool(now >= row.until)
        sight = self._sights.get(row.run)
        if sight is None or (sight.token, sight.beat) != (row.token, row.beat):
            self._sights[row.run] = _Sight(row.token, row.beat, now)
            return False
        return bool(now - sight.since >= row.seconds)

    def _grant(self, connection: Connection, claim: Claim, seconds: float, beat: int) -> Claim:
        granted = replace(claim, expires=self._clock.now() + timedelta(seconds=seconds))
        row = {
            "run": claim.run,
            "owner": claim.owner,
            "token": claim.token,
            "host": self._host,
            "until": self._clock.monotonic() + seconds,
            "seconds": seconds,
            "beat": beat,
            "expires": granted.expires,
        }
        upsert(connection, claims, [row], [name for name in row if name != "run"])
        self._sights.pop(claim.run, None)
        return granted
