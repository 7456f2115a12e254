"""An agent that already owns its port is moved under MOSS once, and back as it was."""

import http.client
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moss.adapters.targets.process.adoption import adopt_running, undo_adoption
from moss.daemon import lock
from moss.errors import TargetError, UserError
from moss.testing.live_process import LiveProcess, post, until

pytestmark = pytest.mark.slow


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[tuple[LiveProcess, int]]:
    """An agent that somebody started by hand on the live port and state; nothing of MOSS runs."""
    live = LiveProcess(tmp_path)
    tree, port = live.image(live.old.digest), live.settings.live.port
    argv = [sys.executable, "agent.py", "--port", str(port), "--state", str(live.target.state)]
    env = {"PATH": "/usr/bin", "MINE": "kept \u00e9 = 1"}
    with subprocess.Popen(argv, cwd=tree, env=env) as process:
        try:
            until(lambda: post(port, "hello").status == 200)
            yield live, process.pid
        finally:
            live.close()
            process.kill()


def environment(port: int) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("GET", "/env")
        told: dict[str, object] = json.loads(connection.getresponse().read())
        return told
    finally:
        connection.close()


def test_it_is_moved_behind_the_proxy_and_back_as_it_was(outside: tuple[LiveProcess, int]) -> None:
    live, pid = outside
    adopt_running(live.target, live.old, pid)
    live.until_ready()
    assert live.target.current().running
    moved = live.send("moved").wait()
    assert (moved.status, moved.body["pid"] != pid) == (200, True)
    assert "MINE" not in environment(live.target.address()[1])
    kept = live.target.home.folder / "adoption.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    again = undo_adoption(live.target)
    assert again is not None
    try:
        until(lambda: post(live.settings.live.port, "back").status == 200)
        told = environment(live.settings.live.port)
        assert told["MINE"] == "kept \u00e9 = 1"
        assert os.readlink(f"/proc/{again}/cwd") == str(live.image(live.old.digest))
        assert lock.is_free(live.target.options.lock)
        assert lock.is_free(live.target.home.lock)
        assert live.kept()[-2:] == ["moved", "back"]
        assert not live.two_writers()
        assert undo_adoption(live.target) is None
    finally:
        os.kill(again, 9)


def test_a_process_that_is_not_the_agent_is_refused_and_left_alone(outside: tuple[LiveProcess, int]) -> None:
    live, pid = outside
    with pytest.raises(UserError, match="does not listen on port"):
        adopt_running(live.target, live.old, os.getpid())
    with pytest.raises(UserError, match="cannot be read"):
        adopt_running(live.target, live.old, 1 << 30)
    assert post(live.settings.live.port, "m").body["pid"] == pid


def test_what_can_be_known_before_stops_the_move_before(outside: tuple[LiveProcess, int]) -> None:
    live, pid = outside
    gone = live.version("gone")
    live.drop(gone)
    with pytest.raises(Exception, match="is gone"):
        adopt_running(live.target, gone, pid)
    assert post(live.settings.live.port, "m").body["pid"] == pid
    assert undo_adoption(live.target) is None


def test_a_move_that_fails_later_brings_the_old_one_back(outside: tuple[LiveProcess, int]) -> None:
    live, pid = outside
    live.target.rehearse(live.old)
    other = lock.take(live.target.home.agent_lock)
    assert other is not None
    try:
        with pytest.raises(TargetError, match="runs again as before"):
            adopt_running(live.target, live.old, pid)
    finally:
        os.close(other)
    port = live.settings.live.port
    until(lambda: post(port, "back").status == 200)
    again = int(str(post(port, "m").body["pid"]))
    assert again != pid
    os.kill(again, 9)
