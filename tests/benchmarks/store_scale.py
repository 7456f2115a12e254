"""A store with 10,000 runs and 1,000,000 failures: how long list calls take, and how much memory they need.

`fill` writes rows straight into the tables (the store itself would fsync a million times), in the shape that the
store writes them: `verify` holds on what it makes, and a test holds its counts to the store's own. `measure` runs
the list calls in a process of its own, so that what it says of memory is the store's alone.
"""

import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from moss.adapters.stores.schema import EPOCH
from moss.adapters.stores.sql import SqlStore
from moss.domain.events import Ended, Event, Outcome, Version
from moss.domain.evidence import Failure, Turn
from moss.domain.frozen import canonical
from moss.domain.ids import BatchId, CommitId, Digest, Fingerprint, RunId
from moss.domain.journal import GENESIS, chain
from moss.ports import Head
from moss.testing.clock import ManualClock
from moss.testing.samples import NOON, failure
from tests.benchmarks.journals import story

PRINTS = 2_000
SESSION_LENGTH = 10
ENTRIES = 6
"""of a run that ended"""
RUN = "ev-RUN"
LATER = NOON + timedelta(days=36500)
"""when no consent has run out yet"""
BASE, NEW = (
    Version(commit=CommitId(mark * 40), image=Digest(f"sha256:{mark * 64}"), name=f"clerk:{mark * 7}") for mark in "ab"
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds at the 95th percentile of each list call; the process' highest resident bytes, and before it
    opened the store; milliseconds of one durable append beside all of it."""

    p95_ms: Mapping[str, float]
    rss_bytes: int
    rss_before_bytes: int
    append_ms: float

    @property
    def slowest_ms(self) -> float:
        return max(self.p95_ms.values())


def fill(home: Path, runs: int = 10_000, failures: int = 1_000_000) -> None:
    """Makes the store of `home`: a third of the failures in the pool, a hundredth of the runs active."""
    SqlStore.open(home, ManualClock()).close()
    with closing(sqlite3.connect(home / "store.db")) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'failures' AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        columns = "id, fingerprint, session, at, state, body"
        connection.executemany(f"INSERT INTO failures ({columns}) VALUES (?, ?, ?, ?, ?, ?)", _failures(failures))
        for _, statement in indexes:
            connection.execute(statement)
        _count(connection, failures)
        _fill_runs(connection, runs)
        connection.commit()


def measure(home: Path, rounds: int = 60) -> Figures:
    """The list calls on the store of `home`, in a fresh process."""
    argv = [sys.executable, "-m", "tests.benchmarks.store_scale", "measure", str(home), str(rounds)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def measure_here(home: Path, rounds: int) -> Figures:
    """The same in this process."""
    before = _rss()
    with SqlStore.open(home, ManualClock()) as store:
        some = random.Random(1)
        p95 = {name: _p95(call, rounds) for name, call in _calls(store, some).items()}
        row = store.runs(active=False, limit=1)[0]
        head = Head(row.substrate, row.batch, row.label, row.stage, row.outcome)
        appends = [
            _timed(lambda seq=seq: store.append(row.id, seq, NOON, "k", {"kind": "k"}, head, None))  # type: ignore[misc]
            for seq in range(row.seq + 1, row.seq + 21)
        ]
    return Figures(p95, _rss(), before, sorted(appends)[len(appends) // 2])


def _calls(store: SqlStore, some: random.Random) -> dict[str, Callable[[], object]]:
    def name() -> Fingerprint:
        return Fingerprint(f"print-{some.randrange(PRINTS)}")

    return {
        "runs": lambda: store.runs(offset=some.randrange(5000)),
        "runs active": lambda: store.runs(active=True),
        "runs ended": lambda: store.runs(active=False, substrate="clerk"),
        "fingerprints": lambda: store.fingerprints(offset=some.randrange(PRINTS)),
        "failures": lambda: store.failures(),
        "failures unbatched": lambda: store.failures(unbatched=True),
        "failures of a fingerprint": lambda: store.failures(fingerprint=name()),
        "failures of a fingerprint unbatched": lambda: store.failures(fingerprint=name(), unbatched=True),
        "failures of the largest fingerprint unbatched": lambda: store.failures(
            fingerprint=Fingerprint("print-0"), unbatched=True
        ),
        "failures of a session": lambda: store.failures(session=f"s{some.randrange(1000)}", unbatched=True),
        "groups by session": lambda: store.open_groups("session"),
        "groups by fingerprint": lambda: store.open_groups("fingerprint"),
        "batches": lambda: store.batches(),
        "guards": lambda: store.guards(),
        "entries": lambda: store.entries(RunId(f"ev-{some.randrange(1, 1000):02d}")),
        "counts": lambda: store.counts(),
    }


def _failures(count: int) -> Iterator[tuple[str, str, str, int, str, str]]:
    """Rows whose bodies are failures of about a kilobyte. Some fingerprints are seen very often, most rarely."""
    template = _template().model_dump_json()
    some = random.Random(0)
    at = (NOON - EPOCH) // timedelta(microseconds=1)
    for place in range(count):
        session, ordinal = f"s{place // SESSION_LENGTH}", place % SESSION_LENGTH + 1
        name = f"print-{int(PRINTS * some.random() ** 4)}"
        body = (
            template.replace("SESSION", session).replace("PRINT", name).replace('"ordinal":77', f'"ordinal":{ordinal}')
        )
        body = body.replace("#77", f"#{ordinal}")
        state = "open" if place % 3 == 0 else "dismissed"
        yield f"{session}#{ordinal}", name, session, at + place * 1_000_000, state, body


def _template() -> Failure:
    seen = failure("SESSION", 77, "PRINT")
    earlier = Turn(session="SESSION", ordinal=76, at=NOON, user="words " * 40, reply="words " * 40)
    return seen.model_copy(update={"earlier": (earlier,)})


def _count(connection: sqlite3.Connection, failures: int) -> None:
    """The projections that the store would have kept while writing."""
    connection.execute(
        "INSERT INTO fingerprints (fingerprint, seen, users, last, example, open, batched, closed, reopened) "
        "SELECT fingerprint, count(*), 1, max(at), 'an example', sum(state = 'open'), 0, NULL, 0 "
        "FROM failures GROUP BY fingerprint"
    )
    connection.execute("INSERT INTO fingerprint_users SELECT fingerprint, 'u1' FROM fingerprints")
    connection.execute(
        "INSERT INTO session_pool SELECT session, count(*) FROM failures WHERE state = 'open' GROUP BY session"
    )
    connection.execute("INSERT INTO cursors SELECT DISTINCT 'jsonl', session, '1' FROM failures")
    numbers = {"failures": failures, "turns": failures * 50, "guards": 0}
    connection.executemany("INSERT INTO counters VALUES (?, ?)", numbers.items())


def _fill_runs(connection: sqlite3.Connection, runs: int) -> None:
    """One in a hundred waits for consent, the others have ended; all was told."""
    at = (NOON - EPOCH) // timedelta(microseconds=1)
    offered = [_text(event) for event in story(RunId(RUN), BatchId("b-00"), BASE, NEW, LATER)]
    ended = [*offered, _text(Ended(outcome=Outcome.REJECTED, because="words " * 20))]
    for number in range(1, runs + 1):
        run, prev, active = RunId(f"ev-{number:02d}"), GENESIS, number % 100 == 0
        entries: list[tuple[str, int, int, str, str, Digest, Digest]] = []
        for seq, text in enumerate(offered if active else ended, 1):
            body = text.replace(RUN, run)
            event = json.loads(body)
            found = chain(prev, run, seq, NOON, event)
            entries.append((run, seq, at, event["kind"], body, prev, found))
            prev = found
        stage, outcome = ("consent", None) if active else ("consent", "rejected")
        row = (run, number, "clerk", f"b-{number}", "print-1", stage, outcome, at, at, len(entries), prev)
        connection.execute(f"INSERT INTO runs VALUES ({','.join('?' * len(row))})", row)
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", entries)
        connection.execute("INSERT INTO facts VALUES (?, ?)", (f"announced:{run}", str(len(entries))))
    connection.executemany("INSERT INTO counters VALUES (?, ?)", {"run": runs, "run-row": runs}.items())


def _text(event: Event) -> str:
    return canonical(event).decode()


def _p95(call: Callable[[], object], rounds: int) -> float:
    return sorted(_timed(call) for _ in range(rounds))[int(rounds * 0.95)]


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def _rss() -> int:
    """The highest so far. `getrusage` would say the parent's, which a forked child takes over."""
    words = Path("/proc/self/status").read_text()
    return int(words.split("VmHWM:")[1].split()[0]) * 1024


def main() -> None:
    if sys.argv[1:2] == ["measure"]:
        figures = measure_here(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        with tempfile.TemporaryDirectory(prefix="moss-scale-") as folder:
            fill(Path(folder) / "home")
            figures = measure(Path(folder) / "home")
    print(
        json.dumps(
            {
                "p95_ms": dict(figures.p95_ms),
                "rss_bytes": figures.rss_bytes,
                "rss_before_bytes": figures.rss_before_bytes,
                "append_ms": figures.append_ms,
            }
        )
    )


if __name__ == "__main__":
    main()
