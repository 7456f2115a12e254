"""A program that detaches: its starter waits for its word, and is told why when it does not come."""

import os
import sys
from pathlib import Path

import pytest

from moss.daemon import detach, lock
from moss.errors import TargetDown

PROGRAM = """
import os, sys, time
from moss.daemon import detach, lock
from pathlib import Path
folder, what = Path(sys.argv[1]), sys.argv[2]
if lock.take(folder / "lock") is None:
    sys.exit(detach.TAKEN)
ready = detach.detach(folder / "log")
if what == "fail":
    sys.exit("the port is taken")
(folder / "sid").write_text(f"{os.getpid()} {os.getsid(0)} {os.getppid()}")
if what == "hang":
    time.sleep(1)
ready()
while not (folder / "end").exists():
    time.sleep(0.01)
"""


def start(folder: Path, what: str, seconds: float = 10.0) -> bool:
    return detach.launch([sys.executable, "-c", PROGRAM, str(folder), what], folder / "log", seconds)


def test_it_goes_on_in_a_session_of_its_own_and_one_of_a_kind(tmp_path: Path) -> None:
    try:
        assert start(tmp_path, "run")
        pid, session, parent = (int(word) for word in (tmp_path / "sid").read_text().split())
        assert session != os.getsid(0)
        assert parent != os.getpid()
        assert lock.holders(tmp_path / "lock") == {pid}
        assert not start(tmp_path, "run")
    finally:
        (tmp_path / "end").touch()


def test_one_that_ends_before_it_is_ready_is_told_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(TargetDown, match="the port is taken"):
        start(tmp_path, "fail")


def test_one_that_is_not_ready_in_time_is_told(tmp_path: Path) -> None:
    try:
        with pytest.raises(TargetDown, match=r"not ready after 0\.2 s"):
            start(tmp_path, "hang", 0.2)
    finally:
        (tmp_path / "end").touch()
