"""Snapshots: whole or not there; put back once, also when the process that did it is killed at any instruction."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moss.adapters.targets.state.snapshots import Marker, Snapshots
from moss.domain.ids import Key
from moss.errors import NoSpace, TargetError
from moss.testing.live_process import until

from .kill_steps import STEPPING
from .test_tree import small_disk as small_disk

KEY = Key("ev-01/swap")
LIMIT = 1 << 30

KILLED = (
    STEPPING
    + """
from moss.adapters.targets.state import snapshots
from moss.adapters.targets.state.snapshots import Snapshots
os.rename, snapshots.tree.copy_exact = step(os.rename), step(snapshots.tree.copy_exact)
snapshots.tree.copy_durably = step(snapshots.tree.copy_durably)
snapshots.write_durably, snapshots.remove_tree = step(snapshots.write_durably), step(snapshots.remove_tree)
found = Snapshots(Path(sys.argv[1]) / "snapshots", Path(sys.argv[1]) / "state")
getattr(found, sys.argv[2])(*(("ev-01/swap",) if sys.argv[2] == "restore" else ("ev-01/swap", 1 << 30)))
"""
)


def make(root: Path) -> Snapshots:
    (root / "state").mkdir()
    (root / "state" / "a").write_text("first a")
    (root / "state" / "b").write_text("first b")
    return Snapshots(root / "snapshots", root / "state")


def read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def change(state: Path) -> None:
    (state / "a").write_text("second")
    (state / "c").write_text("new")


def killed(root: Path, what: str, at: int) -> bool:
    """Whether it was killed at that step; False: it has fewer."""
    argv = [sys.executable, "-c", KILLED, str(root), what, str(at)]
    ended = subprocess.run(argv, check=False)
    assert ended.returncode in (0, 9)
    return ended.returncode == 9


def test_a_snapshot_is_put_back_whole_and_kept(tmp_path: Path) -> None:
    snapshots = make(tmp_path)
    taken = snapshots.take(KEY, LIMIT)
    assert taken is not None
    assert snapshots.taken(KEY) == taken
    change(tmp_path / "state")
    for _ in range(2):
        snapshots.restore(KEY)
        assert read(tmp_path / "state") == {"a": "first a", "b": "first b"}
    snapshots.settle(KEY)
    assert sorted(os.listdir(tmp_path)) == ["snapshots", "state"]
    assert snapshots.taken(KEY) == taken
    snapshots.forget(KEY)
    assert os.listdir(tmp_path / "snapshots") == []


def test_the_displaced_state_is_kept_until_the_swap_is_settled(tmp_path: Path) -> None:
    snapshots = make(tmp_path)
    snapshots.take(KEY, LIMIT)
    change(tmp_path / "state")
    snapshots.restore(KEY)
    (displaced,) = (path for path in tmp_path.iterdir() if path.name.endswith("-displaced"))
    assert read(displaced) == {"a": "second", "b": "first b", "c": "new"}


@pytest.mark.slow
def test_a_restore_killed_at_any_step_and_asked_again_ends_the_same(tmp_path: Path) -> None:
    at = 0
    while True:
        at += 1
        root = tmp_path / str(at)
        root.mkdir()
        snapshots = make(root)
        snapshots.take(KEY, LIMIT)
        change(root / "state")
        if not killed(root, "restore", at):
            break
        snapshots.restore(KEY)
        assert read(root / "state") == {"a": "first a", "b": "first b"}
        snapshots.settle(KEY)
        assert sorted(os.listdir(root)) == ["snapshots", "state"]
    assert at > 8, "the kill points were not reached"


@pytest.mark.slow
def test_a_snapshot_killed_at_any_step_is_not_there_or_whole(tmp_path: Path) -> None:
    at = 0
    while True:
        at += 1
        root = tmp_path / str(at)
        root.mkdir()
        snapshots = make(root)
        if not killed(root, "take", at):
            break
        if snapshots.taken(KEY) is None:
            with pytest.raises(TargetError, match="no whole snapshot"):
                snapshots.restore(KEY)
        assert snapshots.take(KEY, LIMIT) is not None
        change(root / "state")
        snapshots.restore(KEY)
        assert read(root / "state") == {"a": "first a", "b": "first b"}
    assert at > 6, "the kill points were not reached"


def test_a_snapshot_that_was_not_yet_on_the_disk_does_not_outlive_a_power_cut(tmp_path: Path) -> None:
    snapshots = make(tmp_path)
    snapshots.take(KEY, LIMIT)
    (file,) = (tmp_path / "snapshots").glob("*/whole.json")
    until(lambda: Marker.model_validate_json(file.read_bytes()).durable)
    whole = Marker.model_validate_json(file.read_bytes())
    file.write_text(whole.model_copy(update={"machine_boot": "another"}).model_dump_json())
    assert snapshots.taken(KEY) is not None
    file.write_text(whole.model_copy(update={"machine_boot": "another", "durable": False}).model_dump_json())
    assert snapshots.taken(KEY) is None


def test_above_the_limit_none_is_taken(tmp_path: Path) -> None:
    snapshots = make(tmp_path)
    assert snapshots.take(KEY, 100) is None
    assert snapshots.taken(KEY) is None


def test_a_disk_without_room_is_told_before_a_byte_is_copied(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "big").write_bytes(os.urandom(2 << 20))
    snapshots = Snapshots(small_disk / "snapshots", tmp_path / "state")
    with pytest.raises(NoSpace, match=r"the snapshot takes \d+ bytes"):
        snapshots.take(KEY, LIMIT)
    assert snapshots.taken(KEY) is None


def test_a_disk_that_fills_while_the_state_is_restored_leaves_the_state_as_it_was(
    tmp_path: Path, small_disk: Path
) -> None:
    state = small_disk / "state"
    state.mkdir()
    (state / "big").write_bytes(os.urandom(600_000))
    snapshots = Snapshots(tmp_path / "snapshots", state)
    snapshots.take(KEY, LIMIT)
    (state / "new").write_text("new")
    with pytest.raises(NoSpace):
        snapshots.restore(KEY)
    assert sorted(os.listdir(state)) == ["big", "new"]
    assert os.listdir(small_disk) == ["state"]
    (state / "big").unlink()
    snapshots.restore(KEY)
    assert os.listdir(state) == ["big"]
