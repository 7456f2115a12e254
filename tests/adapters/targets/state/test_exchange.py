"""A state that cannot be renamed: its entries are exchanged, also when the process that does it is killed anywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moss.adapters.targets.state.snapshots import Snapshots
from moss.domain.ids import Key
from moss.errors import NoSpace

from .kill_steps import STEPPING
from .test_tree import small_disk as small_disk

KEY = Key("ev-01/swap")
LIMIT = 1 << 30

KILLED = (
    STEPPING
    + """
from moss.adapters.targets.state import exchange
from moss.adapters.targets.state.snapshots import Snapshots
os.rename, Path.mkdir, Path.rmdir = step(os.rename), step(Path.mkdir), step(Path.rmdir)
exchange.tree.copy_durably, exchange.remove_tree = step(exchange.tree.copy_durably), step(exchange.remove_tree)
root = Path(sys.argv[1])
Snapshots(root / "snapshots", root / "state", in_place=True).restore("ev-01/swap")
"""
)


def make(root: Path) -> Snapshots:
    state = root / "state"
    (state / "sessions").mkdir(parents=True)
    (state / "a").write_text("first a")
    (state / "sessions" / "s").write_text("first s")
    state.chmod(0o750)
    snapshots = Snapshots(root / "snapshots", state, in_place=True)
    assert snapshots.take(KEY, LIMIT) is not None
    (state / "a").write_text("second")
    (state / "c").write_text("new")
    (state / "sessions" / "s").unlink()
    state.chmod(0o700)
    return snapshots


def all_in(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in found if ".moss-" not in str(path)}


FIRST = {"a": "first a", "sessions/s": "first s"}


def test_the_folder_itself_stays_and_gets_the_snapshots_entries_and_look(tmp_path: Path) -> None:
    snapshots = make(tmp_path)
    inode = (tmp_path / "state").stat().st_ino
    snapshots.restore(KEY)
    assert all_in(tmp_path / "state") == FIRST
    assert (tmp_path / "state").stat().st_ino == inode
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o750


def test_what_the_agent_writes_after_it_is_not_taken_back_by_a_repetition(tmp_path: Path) -> None:
    snapshots = make(tmp_path)
    snapshots.restore(KEY)
    (tmp_path / "state" / "later").write_text("later")
    snapshots.restore(KEY)
    assert all_in(tmp_path / "state") == {**FIRST, "later": "later"}
    snapshots.settle(KEY)
    assert sorted(os.listdir(tmp_path / "state")) == ["a", "later", "sessions"]


def test_what_went_aside_is_in_no_later_snapshot(tmp_path: Path) -> None:
    snapshots = make(tmp_path)
    snapshots.restore(KEY)
    again = Key("ev-02/swap")
    assert any(name.startswith(".moss-") for name in os.listdir(tmp_path / "state"))
    assert snapshots.take(again, LIMIT) is not None
    copies = list((tmp_path / "snapshots").glob("*/state"))
    assert len(copies) == 2
    assert all(sorted(os.listdir(copy)) == ["a", "sessions"] for copy in copies)


@pytest.mark.slow
def test_killed_at_any_step_and_asked_again_it_ends_the_same(tmp_path: Path) -> None:
    at = 0
    while True:
        at += 1
        root = tmp_path / str(at)
        root.mkdir()
        snapshots = make(root)
        ended = subprocess.run([sys.executable, "-c", KILLED, str(root), str(at)], check=False).returncode
        assert ended in (0, 9)
        if ended == 0:
            break
        snapshots.restore(KEY)
        assert all_in(root / "state") == FIRST
        snapshots.settle(KEY)
        assert sorted(os.listdir(root / "state")) == ["a", "sessions"]
    assert at > 20, "the kill points were not reached"


def test_a_disk_that_fills_meanwhile_leaves_the_state_as_it_was(tmp_path: Path, small_disk: Path) -> None:
    state = small_disk / "state"
    state.mkdir()
    (state / "big").write_bytes(os.urandom(600_000))
    snapshots = Snapshots(tmp_path / "snapshots", state, in_place=True)
    snapshots.take(KEY, LIMIT)
    (state / "new").write_text("new")
    with pytest.raises(NoSpace):
        snapshots.restore(KEY)
    assert sorted(os.listdir(state)) == ["big", "new"]
    (state / "big").unlink()
    snapshots.restore(KEY)
    assert (state / "big").stat().st_size == 600_000
    assert not (state / "new").exists()
