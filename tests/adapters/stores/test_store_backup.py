"""Backup and restore: whole or not at all, while others write, and nothing comes back unproven."""

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from moss.adapters.stores.backup import restore
from moss.adapters.stores.sql import SqlStore
from moss.errors import NewerSchema, Refused, StoreBroken, UserError
from moss.testing.clock import ManualClock
from moss.testing.conformance.store import NOON, RUN, add
from moss.testing.samples import failure


@pytest.fixture
def filled(store: SqlStore) -> SqlStore:
    for seq in range(1, 4):
        add(store, seq)
    store.save_scan("jsonl", [failure("s1", 1)], [], [], [], NOON)
    store.put(b"one", "log", RUN)
    store.put(b"two" * 1000, "patch", RUN)
    return store


@pytest.fixture
def saved(filled: SqlStore, tmp_path: Path) -> Path:
    filled.backup(tmp_path / "saved")
    return tmp_path / "saved"


def edit(home: Path, statement: str) -> None:
    with closing(sqlite3.connect(home / "store.db")) as connection:
        connection.execute("DROP TRIGGER events_no_update")
        connection.execute(statement)
        connection.commit()


def test_what_was_saved_comes_back_whole(filled: SqlStore, saved: Path, tmp_path: Path, clock: ManualClock) -> None:
    copied = restore(saved, tmp_path / "new")
    assert (copied.runs, copied.artifacts) == (1, 2)
    assert copied.bytes > 3003
    with SqlStore.open(tmp_path / "new", clock) as store:
        assert store.entries(RUN) == filled.entries(RUN)
        assert store.failures() == filled.failures()
        digest = store.put(b"one", "log")
        assert store.get(digest) == b"one"
        assert store.verify() is None
        add(store, 4)


def test_a_backup_is_private_plain_files_and_leaves_nothing_beside_it(saved: Path, tmp_path: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["artifacts", "store.db"]
    assert (saved.stat().st_mode & 0o777, (saved / "store.db").stat().st_mode & 0o777) == (0o700, 0o600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "saved"]


def test_a_backup_during_writes_is_one_consistent_look(filled: SqlStore, tmp_path: Path, clock: ManualClock) -> None:
    stop = threading.Event()

    def write() -> None:
        seq = 4
        while not stop.is_set():
            add(filled, seq, event={"kind": "x", "log": filled.put(str(seq).encode(), "log")})
            seq += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for place in range(4):
            filled.backup(tmp_path / f"b{place}")
    finally:
        stop.set()
        writer.join()
    counts = []
    for place in range(4):
        restore(tmp_path / f"b{place}", tmp_path / f"r{place}")
        with SqlStore.open(tmp_path / f"r{place}", clock) as store:
            counts.append(len(store.entries(RUN)))
            for entry in store.entries(RUN, after=3):
                assert store.get(entry.event["log"]) is not None
    assert counts == sorted(counts)
    assert counts[0] < len(filled.entries(RUN))


def test_nothing_is_overwritten(filled: SqlStore, saved: Path, home: Path) -> None:
    with pytest.raises(Refused, match="not empty"):
        filled.backup(saved)
    with pytest.raises(Refused, match="holds a store") as refused:
        restore(saved, home)
    assert "store.db" in (refused.value.mend or "")
    assert len(filled.entries(RUN)) == 3


def test_an_empty_folder_may_be_the_new_home(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert restore(saved, tmp_path / "empty").runs == 1


def test_a_home_in_use_gets_its_store_back_and_keeps_all_else(saved: Path, tmp_path: Path, clock: ManualClock) -> None:
    home = tmp_path / "used"
    (home / "live").mkdir(parents=True)
    (home / "live" / "last-known-good.json").write_text("{}")
    (home / ".restore.killed").mkdir()
    assert restore(saved, home).runs == 1
    assert sorted(path.name for path in home.iterdir()) == ["artifacts", "live", "store.db"]
    assert (home / "live" / "last-known-good.json").read_text() == "{}"
    with SqlStore.open(home, clock) as store:
        assert store.verify() is None
        assert len(store.entries(RUN)) == 3


def test_a_restore_that_was_killed_before_its_end_may_be_repeated(saved: Path, tmp_path: Path) -> None:
    home = tmp_path / "used"
    (home / "live").mkdir(parents=True)
    restore(saved, home)
    for path in home.glob("store.db*"):
        path.unlink()
    assert restore(saved, home).runs == 1


def test_a_broken_backup_leaves_a_home_in_use_as_it_was(saved: Path, tmp_path: Path) -> None:
    home = tmp_path / "used"
    (home / "live").mkdir(parents=True)
    edit(saved, "UPDATE events SET event = '{}' WHERE seq = 2")
    with pytest.raises(StoreBroken, match="broken at entry 2"):
        restore(saved, home)
    assert [path.name for path in home.iterdir()] == ["live"]


def test_a_folder_that_is_no_backup_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"store\.db"):
        restore(tmp_path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_backup_whose_chain_is_broken_does_not_come_back(saved: Path, tmp_path: Path) -> None:
    edit(saved, "UPDATE events SET event = '{}' WHERE seq = 2")
    with pytest.raises(StoreBroken, match="ev-01 is broken at entry 2"):
        restore(saved, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "saved"]


def test_a_backup_of_a_newer_moss_does_not_come_back(saved: Path, tmp_path: Path) -> None:
    edit(saved, "UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(NewerSchema):
        restore(saved, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("damage", ["missing", "changed", "cut"])
def test_a_damaged_backup_does_not_come_back(saved: Path, tmp_path: Path, damage: str) -> None:
    artifact = next(path for path in (saved / "artifacts").rglob("*") if path.is_file())
    match damage:
        case "missing":
            artifact.unlink()
        case "changed":
            artifact.write_bytes(b"other")
        case _:
            file = saved / "store.db"
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(StoreBroken):
        restore(saved, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "saved"]


def test_a_store_with_a_lost_artifact_says_so_instead_of_saving_less(filled: SqlStore, tmp_path: Path) -> None:
    digest = filled.put(b"one", "log")
    filled.artifact_path(digest).unlink()
    with pytest.raises(StoreBroken, match="file is gone"):
        filled.backup(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_backup_is_read_from_a_folder_that_cannot_be_written(saved: Path, tmp_path: Path) -> None:
    """Nothing is made beside it: no log, no lock file."""
    before = {path: path.stat().st_mtime_ns for path in saved.rglob("*")}
    restore(saved, tmp_path / "new")
    assert {path: path.stat().st_mtime_ns for path in saved.rglob("*")} == before
    shutil.rmtree(tmp_path / "new")
