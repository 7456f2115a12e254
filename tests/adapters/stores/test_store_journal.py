"""The chain against somebody who edits the file: every change is found and named."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from moss.adapters.stores.sql import SqlStore
from moss.domain.ids import RunId
from moss.ports import BrokenLink
from moss.testing.conformance.store import RUN, add

OTHER = RunId("ev-02")


def edit(home: Path, *statements: str) -> None:
    """What a person with the sqlite3 program can do, triggers and foreign keys off."""
    with closing(sqlite3.connect(home / "store.db")) as connection:
        connection.execute("DROP TRIGGER IF EXISTS events_no_update")
        connection.execute("DROP TRIGGER IF EXISTS events_no_delete")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.fixture
def written(store: SqlStore) -> SqlStore:
    for seq in range(1, 6):
        add(store, seq)
        add(store, seq, OTHER)
    return store


@pytest.mark.parametrize("verb", ["UPDATE events SET kind = 'x'", "DELETE FROM events"])
def test_the_database_itself_refuses_to_change_the_journal(written: SqlStore, home: Path, verb: str) -> None:
    with (
        closing(sqlite3.connect(home / "store.db")) as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute(verb)


@pytest.mark.parametrize(
    ("statement", "seq", "because"),
    [
        ('UPDATE events SET event = \'{"kind":"noted","n":7}\' WHERE seq = 3', 3, "content"),
        ("UPDATE events SET event = 'not JSON' WHERE seq = 3", 3, "content"),
        ("UPDATE events SET at = at + 1 WHERE seq = 2", 2, "content"),
        ("UPDATE events SET prev = hash WHERE seq = 4", 4, "follow"),
        ("DELETE FROM events WHERE seq = 1", 1, "missing"),
        ("DELETE FROM events WHERE seq = 3", 3, "missing"),
        ("DELETE FROM events WHERE seq > 3", 4, "end at 3"),
        ("DELETE FROM events", 1, "end at 0"),
        ("UPDATE runs SET seq = 4", 5, "end at 5"),
        ("UPDATE runs SET head = 'sha256:0'", 5, "ended with"),
    ],
)
def test_each_way_to_break_a_chain_is_named(
    written: SqlStore, home: Path, statement: str, seq: int, because: str
) -> None:
    where = "WHERE" if "WHERE" not in statement else "AND"
    column = "id" if "UPDATE runs" in statement else "run"
    edit(home, f"{statement} {where} {column} = 'ev-02'")
    broken = written.verify()
    assert broken is not None
    assert (broken.run, broken.seq) == (OTHER, seq)
    assert because in broken.because
    assert written.verify(OTHER) == broken
    assert written.verify(RUN) is None


def test_a_run_that_was_taken_out_whole_is_missed(written: SqlStore, home: Path) -> None:
    edit(home, "DELETE FROM events WHERE run = 'ev-01'", "DELETE FROM runs WHERE id = 'ev-01'")
    assert written.verify() == BrokenLink(RunId("run number 1"), 1, "the run was taken out with all of its entries")


def test_entries_without_their_run_are_named(written: SqlStore, home: Path) -> None:
    edit(home, "DELETE FROM runs WHERE id = 'ev-02'")
    assert written.verify() == BrokenLink(OTHER, 1, "the run's row is missing")


def test_a_rewritten_tail_with_fitting_hashes_is_found_by_the_runs_row(written: SqlStore, home: Path) -> None:
    """Somebody recomputes the last entry's hash but forgets the head."""
    last = written.entries(RUN)[-1]
    from moss.domain.journal import chain

    forged = chain(last.prev, RUN, 5, last.at, {"kind": "forged"})
    edit(
        home, f"UPDATE events SET event = '{{\"kind\":\"forged\"}}', hash = '{forged}' WHERE run = 'ev-01' AND seq = 5"
    )
    broken = written.verify()
    assert broken is not None
    assert (broken.run, broken.seq) == (RUN, 5)
