"""What a trial left, as graders get it: bounded, without traps; what cannot be looked at is the candidate's fault."""

import os
import socket
from pathlib import Path

import pytest

from moss.engine.left_state import DEPTH, Unfit, copy_left

MOST = 1 << 20


def left(tmp_path: Path) -> tuple[Path, Path]:
    state = tmp_path / "state"
    state.mkdir()
    return state, tmp_path / "copy"


def test_plain_files_and_folders_are_copied(tmp_path: Path) -> None:
    state, copy = left(tmp_path)
    (state / "sessions").mkdir()
    (state / "sessions" / "a.jsonl").write_text("one\n")
    (state / "empty").touch()
    (state / "sessions" / "a.jsonl").chmod(0o600)
    copy_left(state, copy, MOST)
    assert (copy / "sessions" / "a.jsonl").read_text() == "one\n"
    assert (copy / "sessions" / "a.jsonl").stat().st_mode & 0o777 == 0o644, "a grader may be another user"
    assert sorted(path.name for path in copy.iterdir()) == ["empty", "sessions"]


def test_links_pipes_and_sockets_are_left_out_and_never_opened(tmp_path: Path) -> None:
    state, copy = left(tmp_path)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("of the host")
    (state / "out").symlink_to(secret)
    (state / "key").symlink_to(secret / "key")
    os.mkfifo(state / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(state / "socket"))
        copy_left(state, copy, MOST)
    assert list(copy.iterdir()) == []


def test_a_state_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "real")
    with pytest.raises(Unfit, match="cannot be read"):
        copy_left(tmp_path / "state", tmp_path / "copy", MOST)


def test_a_sparse_file_counts_what_it_says_it_holds(tmp_path: Path) -> None:
    state, copy = left(tmp_path)
    with open(state / "endless.db", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Unfit, match=r"more bytes than trials\.state_bytes allows, at endless\.db"):
        copy_left(state, copy, MOST)
    assert not (copy / "endless.db").exists()


def test_many_files_and_deep_folders_are_unfit(tmp_path: Path) -> None:
    state, copy = left(tmp_path)
    for number in range(30):
        (state / str(number)).touch()
    with pytest.raises(Unfit, match="more than 20 files"):
        copy_left(state, tmp_path / "many", MOST, files=20)
    deep = tmp_path / "deep" / "/".join(["d"] * (DEPTH + 2))
    deep.mkdir(parents=True)
    with pytest.raises(Unfit, match="deeper than"):
        copy_left(tmp_path / "deep", copy, MOST)


def test_what_is_unreadable_is_unfit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, out = tmp_path / "state", tmp_path / "out"
    for folder in (state, out):
        folder.mkdir()
        folder.chmod(0o777)
    (state / "mine").write_text("x")
    (state / "mine").chmod(0)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    root = os.geteuid() == 0  # who may read everything, so somebody else looks
    try:
        if root:
            os.seteuid(65534)
        with pytest.raises(Unfit, match="mine in what the trial left cannot be read"):
            copy_left(Path("state"), Path("out/copy"), MOST)
    finally:
        if root:
            os.seteuid(0)
