"""A disk that is full, read-only, cut or torn: one clear error, and nothing half written."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moss.adapters.stores.faults import of_database, of_system
from moss.adapters.stores.sql import SqlStore
from moss.domain.batch import BatchState
from moss.domain.ids import RunId
from moss.errors import StoreBroken, StoreError, StoreFull, StoreReadOnly
from moss.testing.clock import ManualClock
from moss.testing.conformance.store import NOON, RUN, add, notice
from moss.testing.samples import batch, failure

NOBODY = 65534

Write = Callable[[SqlStore], object]

WRITES: dict[str, Write] = {
    "append": lambda store: add(store, 1, RunId("ev-09")),
    "claim": lambda store: store.claim(RUN, "x", 30),
    "new_run_id": lambda store: store.new_run_id(),
    "put": lambda store: store.put(b"more", "log"),
    "save_scan": lambda store: store.save_scan("jsonl", [failure("new", 1)], [], [], [], NOON),
    "seal": lambda store: store.seal(batch("b-09", [failure("s1", 1)])),
    "enqueue": lambda store: store.enqueue(notice("n9")),
    "set_fact": lambda store: store.set_fact("a", "b"),
}


def fill(store: SqlStore) -> None:
    """A little of everything."""
    for seq in range(1, 6):
        add(store, seq, event={"kind": "x", "text": "y" * 200 * seq})
    store.save_scan("jsonl", [failure("s1", 1)], [], [], [], NOON)


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root with the right to mount a tmpfs (run as root, outside a restricted container)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def state_of(store: SqlStore) -> object:
    return (store.entries(RUN), store.runs(), store.failures(), store.counts(), store.batches(), store.facts(""))


def read_all(home: Path, clock: ManualClock) -> None:
    with SqlStore.open(home, clock) as store:
        store.verify()
        state_of(store)


def use_up_the_logs_room(store: SqlStore) -> None:
    """A log that was emptied into the file keeps its length: some writes still fit on a full disk."""
    for _ in range(1000):
        store.set_fact("spare", os.urandom(2000).hex())


def eat_space(place: Path) -> None:
    with open(place / "filler", "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"\0" * 4096)
        except OSError:
            pass


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_on_a_full_disk_a_write_says_so_and_writes_nothing(tmpfs: Path, clock: ManualClock, write: Write) -> None:
    with SqlStore.open(tmpfs / "home", clock) as store:
        fill(store)
        before = state_of(store)
        eat_space(tmpfs)
        with pytest.raises(StoreFull, match="disk is full"):
            use_up_the_logs_room(store)
        with pytest.raises(StoreFull):
            write(store)
        (tmpfs / "filler").unlink()
        store.set_fact("spare", None)
        assert state_of(store) == before
        assert store.verify() is None
        write(store)


def test_a_new_store_on_a_full_disk_says_so(tmpfs: Path, clock: ManualClock) -> None:
    eat_space(tmpfs)
    with pytest.raises(StoreFull):
        SqlStore.open(tmpfs / "home", clock)
    (tmpfs / "filler").unlink()
    SqlStore.open(tmpfs / "home", clock).close()


def test_a_store_on_a_read_only_disk_says_so(tmpfs: Path, clock: ManualClock) -> None:
    with SqlStore.open(tmpfs / "home", clock) as store:
        fill(store)
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    with pytest.raises(StoreReadOnly, match="cannot be written"):
        SqlStore.open(tmpfs / "home", clock)
    subprocess.run(["mount", "-o", "remount,rw", str(tmpfs)], check=True)
    with SqlStore.open(tmpfs / "home", clock) as store:
        assert store.verify() is None


@pytest.fixture
def plain_user() -> Iterator[Path]:
    """A folder of a user to whom modes apply; root becomes one for the test."""
    place = Path(tempfile.mkdtemp(prefix="moss-test-"))
    if os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        yield place
        os.seteuid(0)
    else:
        yield place
    shutil.rmtree(place)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_read_only_file_is_read_and_not_written(plain_user: Path, clock: ManualClock, write: Write) -> None:
    home = plain_user / "home"
    with SqlStore.open(home, clock) as store:
        fill(store)
    (home / "store.db").chmod(0o400)
    with SqlStore.open(home, clock) as store:
        before = state_of(store)
        with pytest.raises(StoreReadOnly, match="cannot be written"):
            write(store)
        assert state_of(store) == before
        assert store.verify() is None


def test_a_home_that_cannot_be_made_says_so(plain_user: Path, clock: ManualClock) -> None:
    plain_user.chmod(0o500)
    with pytest.raises(StoreReadOnly):
        SqlStore.open(plain_user / "home", clock)
    plain_user.chmod(0o700)


@pytest.mark.parametrize("keep", [0.05, 0.3, 0.5, 0.9])
def test_a_cut_file_is_called_damaged(home: Path, clock: ManualClock, keep: float) -> None:
    with SqlStore.open(home, clock) as store:
        fill(store)
    file = home / "store.db"
    with open(file, "r+b") as cut:
        cut.truncate(int(file.stat().st_size * keep))
    with pytest.raises(StoreBroken, match="moss store restore"):
        read_all(home, clock)


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 500, b"\x00" * 8192, b"SQLite format 3\x00" + b"\xff" * 9000]
)
def test_a_file_that_is_no_database_is_called_damaged(home: Path, clock: ManualClock, content: bytes) -> None:
    home.mkdir()
    (home / "store.db").write_bytes(content)
    with pytest.raises(StoreBroken):
        SqlStore.open(home, clock)
    assert (home / "store.db").read_bytes() == content


@pytest.fixture(scope="module")
def in_use(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as a power cut finds it: the file, and a log with twenty transactions that were never moved into it."""
    base = tmp_path_factory.mktemp("torn")
    with SqlStore.open(base / "home", ManualClock()) as store:
        for seq in range(1, 21):
            add(store, seq)
        shutil.copytree(base / "home", base / "copy")
    return base / "copy"


@pytest.mark.slow
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(cut=st.integers(0, 200_000), garbage=st.binary(max_size=64))
def test_a_torn_last_write_reopens_to_what_was_complete(in_use: Path, tmp_path: Path, cut: int, garbage: bytes) -> None:
    home = tmp_path / "torn"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(in_use, home)
    (home / "store.db-shm").unlink(missing_ok=True)
    log = home / "store.db-wal"
    whole = log.read_bytes()
    log.write_bytes(whole[: cut % (len(whole) + 1)] + garbage)
    with SqlStore.open(home, ManualClock()) as store:
        assert store.verify() is None
        count = len(store.entries(RUN))
        assert [entry.seq for entry in store.entries(RUN)] == list(range(1, count + 1))
        add(store, count + 1)
        assert store.verify() is None


def test_a_power_cut_loses_nothing_that_was_written(in_use: Path, tmp_path: Path) -> None:
    shutil.copytree(in_use, tmp_path / "home")
    (tmp_path / "home" / "store.db-shm").unlink()
    with SqlStore.open(tmp_path / "home", ManualClock()) as store:
        assert len(store.entries(RUN)) == 20
        assert store.verify() is None


def test_what_the_disk_says_otherwise_is_damage_too(tmp_path: Path) -> None:
    place = tmp_path / "store.db"
    assert isinstance(of_system(OSError(5, "I/O error"), place), StoreBroken)
    assert isinstance(of_system(PermissionError(13, "no"), place), StoreReadOnly)
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
    assert "another process" in str(of_database(busy, place))
    assert isinstance(of_database(ValueError("?"), place), StoreError)


def test_a_rule_that_says_no_leaves_nothing_behind(store: SqlStore) -> None:
    """An error in the middle of a transaction takes all of it back."""
    store.save_scan("jsonl", [failure("s1", 1)], [], [], [], NOON)
    with pytest.raises(ValueError, match="JSON"):
        add(store, 1, event={"kind": "x", "n": float("nan")})
    assert store.run(RUN) is None
    store.seal(batch("b-01", [failure("s1", 1)]))
    assert [row.state for row in store.batches()] == [BatchState.SEALED]
