"""Files of a daemon: private, one line at a time."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.daemon import durable


def test_a_planted_link_is_never_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    log = tmp_path / "log"
    log.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        durable.append(log, b"line")
    assert victim.read_bytes() == b"mine"


def test_lines_that_were_cut_are_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert durable.whole_lines(log) == []
    durable.append(log, b"one")
    durable.append(log, b"two\n")
    with log.open("ab") as end:
        end.write(b"thr")
    assert durable.whole_lines(log) == [b"one", b"two"]


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line and b"\r" not in line), max_size=5))
def test_appended_lines_come_back(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    log = tmp_path_factory.mktemp("lines") / "log"
    for line in lines:
        durable.append(log, line)
    assert len(durable.whole_lines(log)) == len(lines)


def test_a_private_folder_is_closed_also_where_it_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True, mode=0o755)
    assert stat.S_IMODE(durable.private_folder(folder).stat().st_mode) == 0o700
    assert durable.read(folder / "absent") is None
    durable.remove(folder / "absent")
