"""A copied state folder is the folder: links, holes, modes, names; and a full disk is told as one."""

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moss.adapters.targets.state import tree
from moss.errors import NoSpace, TargetError

NAMES = st.text("abc.é -\n", min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 1 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m", "moss-test", str(place)]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs: run the tests as root")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_copy_has_links_as_links_modes_times_pipes_and_names(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "deep" / "er").mkdir(parents=True)
    (state / "deep" / "file").write_bytes(b"one")
    (state / "deep" / "file").chmod(0o640)
    os.utime(state / "deep" / "file", ns=(1_000_000_001, 2_000_000_003))
    (state / "same").hardlink_to(state / "deep" / "file")
    (state / "outside").symlink_to("/etc/passwd")
    (state / "loop").symlink_to("..")
    os.mkfifo(state / "pipe")
    with socket.socket(socket.AF_UNIX) as peer:
        peer.bind(str(state / "socket"))
    (state / "deep" / "er").chmod(0o500)
    tree.copy(state, tmp_path / "copy", tree.copy_exact)
    copy = tmp_path / "copy"
    assert sorted(os.listdir(copy)) == ["deep", "loop", "outside", "pipe", "same"]
    assert os.readlink(copy / "outside") == "/etc/passwd"
    assert os.readlink(copy / "loop") == ".."
    found = (copy / "deep" / "file").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns, found.st_nlink) == (0o640, 2_000_000_003, 2)
    assert stat.S_ISFIFO((copy / "pipe").stat().st_mode)
    assert stat.S_IMODE((copy / "deep" / "er").stat().st_mode) == 0o500
    (copy / "deep" / "file").write_bytes(b"two")
    assert (state / "deep" / "file").read_bytes() == b"one"


def test_holes_stay_holes_and_cost_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with (state / "sparse").open("wb") as file:
        file.write(b"head")
        file.seek(1 << 30)
        file.write(b"tail")
        file.truncate((1 << 30) + (1 << 20))
    assert tree.measure(state) < 1 << 20
    tree.copy(state, tmp_path / "copy", tree.copy_exact)
    copied = tmp_path / "copy" / "sparse"
    assert copied.stat().st_size == (state / "sparse").stat().st_size
    assert tree.measure(tmp_path / "copy") < 1 << 20
    with copied.open("rb") as file:
        assert file.read(4) == b"head"
        file.seek(1 << 30)
        assert file.read(5) == b"tail\0"


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=300), max_size=5))
def test_any_name_and_any_bytes_come_through(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    root = tmp_path_factory.mktemp("any")
    (root / "state").mkdir()
    for name, data in files.items():
        (root / "state" / name).write_bytes(data)
    tree.copy(root / "state", root / "copy", tree.copy_exact)
    assert {path.name: path.read_bytes() for path in (root / "copy").iterdir()} == files
    shutil.rmtree(root)


def test_a_full_disk_is_told_as_one(tmp_path: Path, small_disk: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "big").write_bytes(os.urandom(2 << 20))
    with pytest.raises(NoSpace, match="the disk is full"):
        tree.copy(state, small_disk / "copy", tree.copy_exact)


def test_what_cannot_be_copied_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="absent: cannot be copied"):
        tree.copy(tmp_path / "absent", tmp_path / "copy", tree.copy_exact)


def test_free_space_is_that_of_the_nearest_folder_there_is(tmp_path: Path, small_disk: Path) -> None:
    assert tree.free(small_disk / "not" / "yet") <= 1 << 20 < tree.free(tmp_path / "not")
