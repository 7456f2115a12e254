"""The proxy as a process: one of a kind, outlives its starter, remembers after `kill -9`, ends when told."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from moss.daemon import lock
from moss.domain.ids import Key
from moss.errors import TargetDown
from moss.hold import launch
from moss.hold.client import HoldClient
from moss.hold.options import HoldOptions, from_argv, to_argv

from .conftest import free_port

pytestmark = pytest.mark.slow


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it never came to hold"
        time.sleep(0.01)


@pytest.fixture
def options(tmp_path: Path) -> Iterator[HoldOptions]:
    made = HoldOptions(tmp_path / "hold", "127.0.0.1", free_port(), ("/health", "/ready"), 1.5, "X-Mine")
    yield made
    launch.stop(made)


def test_it_is_started_once_and_outlives_its_starter(options: HoldOptions) -> None:
    assert launch.start(options)
    client = HoldClient(options.folder)
    first = client.status()
    assert not launch.start(options)
    assert client.status().pid == first.pid
    process = psutil.Process(first.pid)
    assert process.ppid() != os.getpid()
    assert os.getsid(first.pid) != os.getsid(0)
    assert set(process.environ()) <= {"PATH", "LANG", "PYTHONDONTWRITEBYTECODE"}


def test_two_starters_at_once_make_one_proxy(options: HoldOptions) -> None:
    fresh: list[bool] = []
    starters = [threading.Thread(target=lambda: fresh.append(launch.start(options))) for _ in range(3)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert sorted(fresh) == [False, False, True]
    assert len(lock.holders(options.lock)) == 1


def test_its_files_and_its_socket_are_its_owners_alone(options: HoldOptions) -> None:
    launch.start(options)
    HoldClient(options.folder).hold(Key("k"), 0, 30, 10)
    assert stat.S_IMODE(options.folder.stat().st_mode) == 0o700
    for path in (options.control, options.folder / "state.json", options.log):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_killed_and_started_anew_it_still_holds(options: HoldOptions) -> None:
    launch.start(options)
    client = HoldClient(options.folder)
    client.hold(Key("k"), 0, 30, 10)
    pid = client.status().pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: lock.is_free(options.lock))
    with pytest.raises(TargetDown):
        client.status()
    launch.start(options)
    status = client.status()
    assert status.pid != pid
    assert status.held == "k"
    client.release(Key("k"))
    assert client.status().held is None


def test_sigterm_ends_it_and_stop_is_silent_then(options: HoldOptions) -> None:
    launch.start(options)
    os.kill(HoldClient(options.folder).status().pid, signal.SIGTERM)
    until(lambda: lock.is_free(options.lock))
    launch.stop(options)


def test_a_taken_port_is_told_in_one_sentence(options: HoldOptions, tmp_path: Path) -> None:
    launch.start(options)
    second = HoldOptions(tmp_path / "other", options.host, options.port)
    with pytest.raises(TargetDown, match=r"does not start: .*address already in use"):
        launch.start(second)


def test_a_folder_deeper_than_a_socket_path_may_be(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 40] * 4)
    options = HoldOptions(deep, "127.0.0.1", free_port())
    launch.start(options)
    try:
        assert HoldClient(deep).status().listen.endswith(str(options.port))
    finally:
        launch.stop(options)


def test_its_command_line_carries_every_option(options: HoldOptions) -> None:
    command = from_argv(to_argv(options)[3:])
    assert command.options == options
    assert command.detach


@pytest.mark.parametrize("listen", ["nowhere", "host:", ":80", "h:0", "h:99999", "h:8x"])
def test_a_wrong_address_is_a_wrong_use(listen: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "moss.hold", "--dir", str(tmp_path), "--listen", listen]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "is not HOST:PORT" in ended.stderr
