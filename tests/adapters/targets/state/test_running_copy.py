"""A copy taken under a running agent: databases whole, journals to their last full line, nothing written back."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moss.adapters.targets.state import running_copy
from moss.errors import NoSpace, TargetError

from .test_tree import small_disk as small_disk


@contextmanager
def database(path: Path, mode: str = "WAL") -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as open_one:
        open_one.execute(f"PRAGMA journal_mode={mode}")
        open_one.execute("PRAGMA wal_autocheckpoint=0")
        open_one.execute("CREATE TABLE t (n INTEGER)")
        yield open_one


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as copied:
        assert copied.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found: int = copied.execute("SELECT count(*) FROM t").fetchone()[0]
        return found


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_database_is_copied_with_what_is_still_in_its_wal(tmp_path: Path, mode: str) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with database(state / "agent.db", mode) as live:
        live.execute("INSERT INTO t SELECT value FROM json_each(?)", [json.dumps(list(range(100)))])
        before = sorted(os.listdir(state))
        running_copy.copy(state, tmp_path / "copy")
        assert sorted(os.listdir(state)) == before
        live.execute("INSERT INTO t VALUES (1)")
    assert os.listdir(tmp_path / "copy") == ["agent.db"]
    assert count(tmp_path / "copy" / "agent.db") == 100


def test_an_open_transaction_of_the_agent_is_left_out_and_not_waited_for(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with database(state / "agent.db") as live:
        live.execute("INSERT INTO t VALUES (1)")
        live.execute("BEGIN IMMEDIATE")
        live.execute("INSERT INTO t VALUES (2)")
        running_copy.copy(state, tmp_path / "copy")
        live.execute("COMMIT")
        assert live.execute("SELECT count(*) FROM t").fetchone() == (2,)
    assert count(tmp_path / "copy" / "agent.db") == 1


def test_a_database_that_nobody_has_open_is_copied_too(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with database(state / "agent.db") as live:
        live.execute("INSERT INTO t VALUES (1)")
    running_copy.copy(state, tmp_path / "copy")
    assert count(tmp_path / "copy" / "agent.db") == 1


def test_copies_under_a_writer_are_each_whole(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    over = threading.Event()
    with database(state / "agent.db"):
        pass

    def write() -> None:
        with closing(sqlite3.connect(state / "agent.db", isolation_level=None)) as live:
            number = 0
            while not over.is_set():
                live.execute("BEGIN")
                live.executemany("INSERT INTO t VALUES (?)", [(number,)] * 10)
                live.execute("COMMIT")
                with (state / "s.jsonl").open("a") as file:
                    file.write(json.dumps({"n": number}))
                    file.flush()
                    file.write("\n")
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(10):
            copy = tmp_path / f"copy{number}"
            running_copy.copy(state, copy)
            assert count(copy / "agent.db") % 10 == 0
            lines = (copy / "s.jsonl").read_text().splitlines() if (copy / "s.jsonl").exists() else []
            assert [json.loads(line)["n"] for line in lines] == list(range(len(lines)))
    finally:
        over.set()
        writer.join()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")), max_size=6), st.binary(max_size=30))
def test_a_journal_is_copied_up_to_its_last_full_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], rest: bytes
) -> None:
    root = tmp_path_factory.mktemp("journal")
    whole = b"".join(line + b"\n" for line in lines)
    (root / "s.jsonl").write_bytes(whole + rest.replace(b"\n", b""))
    running_copy.copy_file(root / "s.jsonl", root / "copied")
    assert (root / "copied").read_bytes() == whole


def test_a_journal_line_longer_than_a_piece_is_found(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_bytes(b"one\n" + b"x" * (3 << 20))
    running_copy.copy_file(tmp_path / "s.jsonl", tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == b"one\n"


def test_files_that_only_look_like_companions_are_copied(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "notes-wal").write_text("mine")
    (state / "x.db").write_text("not SQLite")
    (state / "x.db-wal").write_text("mine too")
    running_copy.copy(state, tmp_path / "copy")
    assert sorted(os.listdir(tmp_path / "copy")) == ["notes-wal", "x.db", "x.db-wal"]


def test_a_broken_database_is_named_and_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "agent.db").write_bytes(running_copy.MAGIC + os.urandom(5000))
    with pytest.raises(TargetError, match=r"agent\.db: the database cannot be copied"):
        running_copy.copy(state, tmp_path / "copy")


def test_a_disk_without_room_is_told(tmp_path: Path, small_disk: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with database(state / "agent.db") as live:
        live.execute("INSERT INTO t VALUES (randomblob(2 << 20))")
        live.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with pytest.raises(NoSpace):
        running_copy.copy(state, small_disk / "copy")


def test_an_older_copy_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "old").touch()
    (tmp_path / "state" / "new").touch()
    running_copy.copy(tmp_path / "state", tmp_path / "copy")
    assert os.listdir(tmp_path / "copy") == ["new"]
