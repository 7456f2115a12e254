"""The schema: made by the migrations alone, brought forward once, never touched when it is newer."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from moss.adapters.stores.database import Database
from moss.adapters.stores.dialect import append_only
from moss.adapters.stores.migrate import config
from moss.adapters.stores.schema import REVISIONS, metadata
from moss.adapters.stores.sql import SqlStore
from moss.errors import NewerSchema, StoreBroken
from moss.testing.clock import ManualClock
from moss.testing.conformance.store import RUN, add


def test_the_migrations_make_what_the_code_expects(store: SqlStore, home: Path) -> None:
    database = Database(home)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


def test_the_known_revisions_are_those_of_the_scripts_in_order() -> None:
    found = [script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()]
    assert tuple(reversed(found)) == REVISIONS


def test_every_table_and_index_is_one_that_postgresql_can_make() -> None:
    dialect = postgresql.dialect()
    for table in metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert "CREATE INDEX" in str(CreateIndex(index).compile(dialect=dialect))
    function, trigger = append_only("postgresql", "events")
    assert "plpgsql" in str(function)
    assert "BEFORE UPDATE OR DELETE" in str(trigger)


def test_the_store_of_a_newer_moss_is_refused_and_left_alone(home: Path, clock: ManualClock) -> None:
    SqlStore.open(home, clock).close()
    with closing(sqlite3.connect(home / "store.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
        connection.commit()
    with pytest.raises(NewerSchema, match=r"newer MOSS \(schema 0999"):
        SqlStore.open(home, clock)
    with closing(sqlite3.connect(home / "store.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0999",)


def test_a_current_store_opens_without_alembic(home: Path, clock: ManualClock) -> None:
    SqlStore.open(home, clock).close()
    program = (
        "import sys; from pathlib import Path; from moss.adapters.stores.sql import SqlStore;"
        "from moss.testing.clock import ManualClock; SqlStore.open(Path(sys.argv[1]), ManualClock()).runs();"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('alembic', 'mako', 'httpx')))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(home)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_many_who_open_a_new_store_at_once_make_it_once(home: Path, clock: ManualClock) -> None:
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: SqlStore.open(home, clock), range(6)))
    add(stores[0], 1)
    assert [len(store.entries(RUN)) for store in stores] == [1] * 6
    for store in stores:
        store.close()


def test_the_home_and_its_file_are_private(store: SqlStore, home: Path) -> None:
    digest = store.put(b"x", "log")
    add(store, 1)
    assert home.stat().st_mode & 0o777 == 0o700
    names = [home / "store.db", home / "store.db-wal", store.artifact_path(digest)]
    assert [path.stat().st_mode & 0o777 for path in names] == [0o600] * 3
    assert store.artifact_path(digest).parent.stat().st_mode & 0o777 == 0o700


def test_an_empty_file_beside_artifacts_is_a_lost_store_not_a_new_one(home: Path, clock: ManualClock) -> None:
    with SqlStore.open(home, clock) as store:
        store.put(b"x", "log")
    (home / "store.db").write_bytes(b"")
    with pytest.raises(StoreBroken, match="store restore"):
        SqlStore.open(home, clock)
    (home / "store.db").unlink()
    with pytest.raises(StoreBroken):
        SqlStore.open(home, clock)


def test_every_connection_is_durable_and_checks_its_references(store: SqlStore, home: Path) -> None:
    database = Database(home)
    with database.read() as connection:
        read = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    database.close()
    assert read == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
