"""A state that this user may not touch: a helper container does the same steps, and leaves everybody's files theirs."""

import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest

from moss.adapters.targets.docker.state import LiveState, StatePlace, place_of
from moss.dockerd import Engine
from moss.domain.ids import Key
from moss.errors import NoSpace, TargetDown, TargetError
from moss.testing.live_docker import docker
from tests.adapters.targets.docker.beside_agent import MOSS_IMAGE, Beside

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]

KEY = Key("ev-01/swap")
LIMIT = 1 << 30


class FarState(LiveState):
    """As for a user who is not root: only the helper touches it."""

    @property
    def is_near(self) -> bool:
        return False


@pytest.fixture
def volume(beside: Beside) -> Path:
    """A volume with an agent's state below its top, owned by the agent's user; its folder on this host."""
    name = beside.volume()
    folder = Path(docker("volume", "inspect", "-f", "{{.Mountpoint}}", name))
    state = folder / "agent"
    (state / "sessions").mkdir(parents=True)
    (state / "sessions" / "s.jsonl").write_text("one\n")
    (state / "private").write_text("mine")
    (state / "private").chmod(0o600)
    for path in (state, *state.rglob("*")):
        os.chown(path, 1234, 1235)
    return folder


@pytest.fixture
def far(beside: Beside, volume: Path) -> Iterator[LiveState]:
    place = StatePlace(source=volume, volume=volume.parent.name, beneath=PurePosixPath("agent"))
    engine = Engine(None, TargetDown)
    yield FarState(engine, beside.tag, beside.home / "live", MOSS_IMAGE, place)
    assert not [
        name for name in docker("ps", "-a", "--format", "{{.Names}}").split() if name == f"moss-{beside.tag}-state"
    ]
    engine.close()


def all_in(folder: Path) -> dict[str, tuple[str, int, int, int]]:
    return {
        str(path.relative_to(folder)): (
            path.read_text(),
            path.stat().st_uid,
            path.stat().st_gid,
            stat.S_IMODE(path.stat().st_mode),
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_snapshot_comes_back_with_owners_and_modes(far: LiveState, volume: Path) -> None:
    before = all_in(volume)
    taken = far.take(KEY, LIMIT)
    assert taken is not None
    assert (taken.key, taken.bytes > 0, far.take(KEY, LIMIT)) == (KEY, True, taken)
    (volume / "agent" / "private").write_text("changed")
    (volume / "agent" / "new").write_text("new")
    for _ in range(2):
        far.restore(KEY)
        assert {name: told for name, told in all_in(volume).items() if ".moss-" not in name} == before
    far.settle(KEY)
    assert sorted(os.listdir(volume / "agent")) == ["private", "sessions"]
    far.forget(KEY)
    with pytest.raises(TargetError, match="no whole snapshot"):
        far.restore(KEY)


def test_above_its_limit_none_is_taken(far: LiveState) -> None:
    assert far.take(KEY, 1) is None


def test_a_copy_is_this_users_own_and_a_wal_that_nobody_has_open_is_in_it(
    far: LiveState, volume: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made.db"
    with closing(sqlite3.connect(made, isolation_level=None)) as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("CREATE TABLE t (n INTEGER)")
        live.execute("INSERT INTO t VALUES (7)")
        # as a killed agent leaves it: all is still in the WAL, and nobody keeps the shared memory
        for name in ("made.db", "made.db-wal"):
            (volume / "agent" / name).write_bytes((tmp_path / name).read_bytes())
    far.copy(tmp_path / "copy")
    with closing(sqlite3.connect(tmp_path / "copy" / "made.db")) as copied:
        assert copied.execute("SELECT n FROM t").fetchall() == [(7,)]
    assert {path.stat().st_uid for path in (tmp_path / "copy").rglob("*")} == {os.geteuid()}
    assert (tmp_path / "copy" / "sessions" / "s.jsonl").read_text() == "one\n"
    assert sorted(os.listdir(volume / "agent")) == ["made.db", "made.db-wal", "private", "sessions"]


def test_evidence_is_read_from_a_copy_of_the_moment(far: LiveState, volume: Path) -> None:
    root = far.readable()
    assert root != volume / "agent"
    (volume / "agent" / "sessions" / "s.jsonl").write_text("one\ntwo\n")
    assert (far.readable() / "sessions" / "s.jsonl").read_text() == "one\ntwo\n"


def test_the_helpers_words_become_the_errors_that_they_are(far: LiveState) -> None:
    snapshots = far._folder / "snapshots"
    snapshots.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", snapshots], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here: run the tests as root")
    try:
        with pytest.raises(NoSpace, match="the snapshot takes"):
            far.take(KEY, LIMIT)
    finally:
        subprocess.run(["umount", snapshots], check=True)


def test_the_state_is_found_through_the_nearest_mount() -> None:
    mounts = [
        {"Type": "volume", "Name": "v", "Source": "/var/v/_data", "Destination": "/srv"},
        {"Type": "bind", "Source": "/host/data", "Destination": "/srv/data"},
        {"Type": "tmpfs", "Destination": "/tmp"},
    ]
    told = {"Mounts": mounts}
    found = place_of(told, PurePosixPath("/srv/data/agent"))
    assert found is not None
    assert (found.folder, found.volume) == (Path("/host/data/agent"), None)
    other = place_of(told, PurePosixPath("/srv"))
    assert other is not None
    assert (other.folder, other.volume) == (Path("/var/v/_data"), "v")
    assert place_of(told, PurePosixPath("/elsewhere")) is None
    assert place_of(told, PurePosixPath("/tmp/x")) is None
