"""The supervisor's process: one of a kind, answers whatever is written to it, leaves the agent when it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from moss.adapters.targets.process.client import SupervisorClient
from moss.adapters.targets.process.home import SupervisorHome
from moss.daemon import lock
from moss.errors import TargetDown
from moss.testing.live_process import LiveProcess, until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "line", [b"", b"null", b'{"kind":"start"}', b"\xff\0", b'{"kind":"stop","expected":1}', b'{"kind":"rm -rf"}']
)
def test_a_request_that_cannot_be_read_is_answered_and_nothing_changes(live: LiveProcess, line: bytes) -> None:
    before = live.target.home.read()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(live.target.home.control))
        peer.sendall(line + b"\n")
        with peer.makefile("rb") as answers:
            told = json.loads(answers.readline())
    assert told["error"] == "TargetError"
    assert live.target.home.read() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_leaves_the_agent_running(live: LiveProcess, number: signal.Signals) -> None:
    agent = live.target.home.read().agent
    (pid,) = lock.holders(live.target.home.lock)
    os.kill(pid, number)
    until(lambda: lock.is_free(live.target.home.lock))
    assert live.send("m").wait().status == 200
    assert live.target.home.read().agent == agent
    assert live.target.current().running


def test_a_second_one_gives_way(live: LiveProcess) -> None:
    argv = [sys.executable, "-m", "moss.adapters.targets.process.supervisor", "--dir", str(live.target.home.folder)]
    ended = subprocess.run([*argv, "--hold", str(live.target.options.folder)], check=False, timeout=30)
    assert ended.returncode == 75
    assert live.target.current().running


def test_it_carries_no_secret_of_its_starter(live: LiveProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSS_UPSTREAM_MAIN_KEY", "sk-planted-secret")
    client = SupervisorClient(live.target.home, live.target.options.folder)
    client.quit()
    assert client.launch()
    (pid,) = lock.holders(live.target.home.lock)
    assert b"sk-planted-secret" not in Path(f"/proc/{pid}/environ").read_bytes()
    agent = live.target.home.read().agent
    assert agent is not None
    assert b"sk-planted-secret" not in Path(f"/proc/{agent.pid}/environ").read_bytes()


def test_a_state_that_cannot_be_read_is_told_in_one_sentence(tmp_path: Path) -> None:
    home = SupervisorHome(tmp_path / "live")
    home.folder.mkdir()
    (home.folder / "state.json").write_text("[]")
    with pytest.raises(TargetDown, match=r"does not start: moss supervisor: .*state\.json cannot be read"):
        SupervisorClient(home, tmp_path / "hold").status()
