"""A copy of a database that somebody writes: whole, consistent, without a name, and the original untouched."""

import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from moss.adapters.evidence.hermes_copy import open_copy
from moss.errors import UserError

from .hermes_db import HermesDb


def test_what_is_only_in_the_wal_is_read_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    written = HermesDb(tmp_path / "state")
    written.turn("s", "only in the WAL")
    assert written.path.stat().st_size <= 4096 < (tmp_path / "state/state.db-wal").stat().st_size
    (tmp_path / "state/state.db-shm").rename(tmp_path / "elsewhere")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "state").iterdir())
    copy = open_copy(tmp_path / "state", "state.db", tmp_path / "scratch")
    try:
        assert copy.execute("SELECT content FROM messages WHERE role = 'user'").fetchall() == [("only in the WAL",)]
        assert list((tmp_path / "scratch").iterdir()) == [], "the copy has no name while it is read"
    finally:
        copy.close()
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "state").iterdir()) == before
    written.close()


def test_a_transaction_that_is_not_over_is_not_seen(tmp_path: Path) -> None:
    written = HermesDb(tmp_path / "state")
    written.turn("s", "over")
    written.db.execute("PRAGMA cache_size = 1")
    written.db.execute("BEGIN")
    for _ in range(50):
        written.row("s", "user", "x" * 5000)
    copy = open_copy(tmp_path / "state", "state.db", tmp_path / "scratch")
    assert copy.execute("SELECT count(*) FROM messages WHERE role = 'user'").fetchone() == (1,)
    copy.close()
    written.db.execute("ROLLBACK")
    written.close()


def test_a_rollback_journal_of_a_write_in_flight_is_taken_along(tmp_path: Path) -> None:
    written = HermesDb(tmp_path / "state")
    written.turn("s", "over")
    written.db.execute("PRAGMA journal_mode = DELETE")
    written.db.execute("PRAGMA cache_size = 1")
    written.db.execute("BEGIN")
    for _ in range(50):
        written.row("s", "user", "x" * 5000)
    assert (tmp_path / "state/state.db-journal").exists()
    copy = open_copy(tmp_path / "state", "state.db", tmp_path / "scratch")
    assert copy.execute("SELECT count(*) FROM messages WHERE role = 'user'").fetchone() == (1,)
    copy.close()
    written.db.execute("ROLLBACK")
    written.close()


@pytest.mark.slow
def test_every_copy_of_a_busy_database_is_one_committed_state(tmp_path: Path) -> None:
    """Each transaction adds a pair; the WAL is begun anew all the time."""
    HermesDb(tmp_path / "state").close()
    stop, wrote = threading.Event(), [0]

    def write() -> None:
        db = sqlite3.connect(tmp_path / "state/state.db", isolation_level=None)
        db.execute("PRAGMA wal_autocheckpoint = 8")
        while not stop.wait(0.03):
            for _ in range(6):
                db.execute("BEGIN")
                for half in ("left", "right"):
                    db.execute(
                        "INSERT INTO messages (session_id, role, content, timestamp) VALUES ('s', ?, ?, 0)",
                        (half, "x" * 3000),
                    )
                db.execute("COMMIT")
                wrote[0] += 1
        db.close()

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[int] = []
    try:
        while len(seen) < 25 or wrote[0] < 100:
            copy = open_copy(tmp_path / "state", "state.db", tmp_path / "scratch")
            rows = dict(copy.execute("SELECT role, count(*) FROM messages GROUP BY role").fetchall())
            assert rows.get("left") == rows.get("right")
            assert copy.execute("PRAGMA quick_check").fetchone() == ("ok",)
            copy.close()
            seen.append(rows.get("left", 0))
    finally:
        stop.set()
        writer.join()
    assert seen == sorted(seen), "never an older state than before"
    assert seen[-1] > seen[0]


def test_one_that_changes_all_the_time_is_told_so(tmp_path: Path) -> None:
    written = HermesDb(tmp_path / "state")
    soon = time.time() + 3600  # at each look it was written to just now
    os.utime(written.path, (soon, soon))
    with pytest.raises(UserError, match="is written to all the time"):
        open_copy(tmp_path / "state", "state.db", tmp_path / "scratch")
    written.close()


def test_one_that_is_not_there_says_which_setting_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such database") as raised:
        open_copy(tmp_path, "state.db", tmp_path / "scratch")
    assert "evidence.source.database" in str(raised.value.mend)
