"""A lock lasts as long as the last process that inherited it, whatever kills the others."""

import os
import subprocess
import sys
from pathlib import Path

from moss.daemon import lock


def test_a_lock_is_taken_once_and_free_after_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert lock.is_free(path)
    held = lock.take(path)
    assert held is not None
    assert lock.take(path) is None
    assert not lock.is_free(path)
    os.close(held)
    assert lock.is_free(path)


def test_a_child_that_inherited_it_keeps_it_and_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    held = lock.take(path)
    assert held is not None
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[held])
    os.close(held)
    try:
        assert not lock.is_free(path)
        assert lock.holders(path) == {child.pid}
    finally:
        child.communicate(b"\n")
    assert lock.is_free(path)
    assert lock.holders(path) == frozenset()
    assert lock.holders(tmp_path / "absent") == frozenset()
