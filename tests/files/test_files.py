"""Files of MOSS's own home: whole or not at all, never through a symlink, always removable."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.files import copy_tree, read_beneath, remove_tree, write_durably


def test_a_write_is_whole_and_private(tmp_path: Path) -> None:
    write_durably(tmp_path / "x", b"one")
    write_durably(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"two"
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["x"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "kept").write_text("")
    with pytest.raises(OSError):
        write_durably(tmp_path / "x", b"new")
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x" / "kept").exists()


def test_a_copy_takes_links_as_links_and_leaves_special_files_out(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "run").write_text("x")
    (source / "deep" / "run").chmod(0o755)
    (source / "out").symlink_to("/etc")
    (source / "dangling").symlink_to("nowhere")
    os.mkfifo(source / "fifo")
    copy_tree(source, tmp_path / "copy")
    assert sorted(os.listdir(tmp_path / "copy")) == ["dangling", "deep", "out"]
    assert os.readlink(tmp_path / "copy" / "out") == "/etc"
    assert (tmp_path / "copy" / "deep" / "run").stat().st_mode & 0o777 == 0o755


def test_removal_unlinks_a_link_and_does_not_enter_it(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "x").write_text("")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove_tree(tmp_path / "tree")
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "absent")
    assert os.listdir(tmp_path) == ["kept"]
    assert (tmp_path / "kept" / "x").exists()


def test_removal_goes_deeper_than_python_does(tmp_path: Path) -> None:
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    remove_tree(tmp_path / "d")
    assert os.listdir(tmp_path) == []


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x").write_bytes(b"0123456789")
    assert read_beneath(tmp_path, "deep/x", 4) == b"0123"
    assert read_beneath(tmp_path, "deep/x", 100) == b"0123456789"
    assert read_beneath(tmp_path, "deep", 100) is None


@given(st.text(st.sampled_from("abl./\0~ "), max_size=12))
def test_no_path_leads_out_of_the_root(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    outside = tmp_path_factory.getbasetemp() / "outside"
    root = outside / "root"
    if not root.exists():
        (root / "a").mkdir(parents=True)
        for folder in (outside, outside.parent):
            (folder / "b").write_text("outside")
        (root / "l").symlink_to(outside)
        (root / "a" / "l").symlink_to("../../b")
        (root / "a" / "b").write_text("inside")
    assert read_beneath(root, path, 100) in (None, b"inside")
