"""The gateway as a process: one of a kind, outlives its starter, remembers after `kill -9`, ends when told."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from moss.config import Secret, Upstream
from moss.daemon import lock
from moss.errors import GatewayDown, GatewayError
from moss.gateway import launch
from moss.gateway.client import HttpGateway
from moss.gateway.config import GatewayConfig
from moss.gateway.home import GatewayHome, GatewayState
from moss.ports import BoxRole, GatewayMode
from moss.testing.models import Line, ModelServer, Reached, model_server

from .conftest import Running, chat, grant, until

pytestmark = pytest.mark.slow


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture
def config(tmp_path: Path, model: ModelServer) -> Iterator[GatewayConfig]:
    upstream = Upstream(name="main", url=model.url, key=Secret(env="MAIN_KEY"))
    yield GatewayConfig(artifacts=tmp_path / "artifacts", upstreams=(upstream,))
    launch.stop(tmp_path)


def start(home: Path, config: GatewayConfig) -> Running:
    launch.start(home, config, {"MAIN_KEY": "sk-main", "OTHER_SECRET": "x", "PATH": "/bin"})
    return Running(home, HttpGateway(home), [], home / "artifacts")


def state(home: Path) -> GatewayState:
    return GatewayState.model_validate_json(GatewayHome(home).state.read_bytes())


def test_it_is_started_once_outlives_its_starter_and_knows_only_its_keys(
    tmp_path: Path, config: GatewayConfig, model: ModelServer
) -> None:
    program = (
        "import sys; from pathlib import Path; from moss.gateway import launch; from moss.gateway.config import *; "
        "launch.start(Path(sys.argv[1]), GatewayConfig.model_validate_json(sys.argv[2]), "
        "{'MAIN_KEY': 'sk-main', 'OTHER_SECRET': 'x'})"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path), config.model_dump_json()], check=True, timeout=60)
    process = psutil.Process(state(tmp_path).pid)
    assert os.getsid(process.pid) != os.getsid(0)
    assert set(process.environ()) <= {"PATH", "LANG", "PYTHONDONTWRITEBYTECODE", "MAIN_KEY"}
    running = start(tmp_path, config)
    assert state(tmp_path).pid == process.pid
    assert running.ask(running.control.open(grant()), chat("x")).text == "real: x"
    assert model.reached[0].headers["authorization"] == "Bearer sk-main"


def test_its_files_are_its_owners_alone(tmp_path: Path, config: GatewayConfig) -> None:
    running = start(tmp_path, config)
    running.ask(running.control.open(grant()), chat("x"))
    running.ask(running.control.open(grant("live", mode=GatewayMode.RECORD, seconds=None)), chat("x"))
    place = GatewayHome(tmp_path)
    files = [path for path in (*place.root.rglob("*"), place.log) if path.is_file()]
    assert len(files) >= 7
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(place.root.stat().st_mode) == 0o700
    assert all(b"sk-main" not in path.read_bytes() for path in files)


def test_killed_in_the_middle_of_a_call_it_counts_the_money_and_pays_nothing_twice(
    tmp_path: Path, config: GatewayConfig, model: ModelServer
) -> None:
    running = start(tmp_path, config)
    token = running.control.open(grant(max_tokens=5000))
    assert running.ask(token, chat("one")).text == "real: one"
    port = running.port

    def act(reached: Reached, line: Line) -> None:
        os.kill(state(tmp_path).pid, signal.SIGKILL)
        line.gone()

    answering, model.act = model.act, act
    with pytest.raises(OSError):
        running.ask(token, chat("two", max_tokens=50))
    model.act = answering
    until(lambda: lock.is_free(GatewayHome(tmp_path).lock))
    running = start(tmp_path, config)
    assert running.port == port
    usage = running.control.usage(grant().key)
    assert (usage.tokens_out, usage.faults) == (55, 1)
    again = running.control.open(grant(max_tokens=5000))
    assert running.ask(again, chat("one")).text == "real: one"
    assert len(model.reached) == 2
    assert running.ask(again, chat("two")).text == "real: two"
    assert len(model.reached) == 3
    assert running.control.usage(grant().key).faults == 0


def test_a_new_configuration_is_taken_up_without_a_restart(
    tmp_path: Path, config: GatewayConfig, model: ModelServer
) -> None:
    running = start(tmp_path, config)
    boot = running.control.boot()
    with model_server() as second:
        other = Upstream(name="other", url=second.url)
        start(tmp_path, config.model_copy(update={"upstreams": (*config.upstreams, other)}))
        token = running.control.open(grant(upstreams=("main", "other")))
        assert running.ask(token, chat("x"), "/u/other/v1/chat/completions").status == 200
        assert (len(model.reached), len(second.reached)) == (0, 1)
    assert running.control.boot() == boot


def test_it_ends_when_told_and_says_so(tmp_path: Path, config: GatewayConfig) -> None:
    running = start(tmp_path, config)
    process = psutil.Process(state(tmp_path).pid)
    launch.stop(tmp_path)
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    launch.stop(tmp_path)
    with pytest.raises(GatewayDown, match="does not answer"):
        running.control.usage(grant().key)
    assert running.control.boot() is None


def test_without_a_gateway_every_call_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(GatewayDown, match=r"no gateway runs for .*; start it: moss serve"):
        HttpGateway(tmp_path).url(BoxRole.TRIAL)
    with pytest.raises(GatewayDown):
        HttpGateway(tmp_path).open(grant())


def test_a_second_one_leaves_at_once(tmp_path: Path, config: GatewayConfig) -> None:
    start(tmp_path, config)
    argv = [each for each in launch.command(GatewayHome(tmp_path)) if each != "--detach"]
    assert subprocess.run(argv, check=False, timeout=30).returncode == 75


def test_a_port_that_is_taken_is_named(tmp_path: Path, config: GatewayConfig, model: ModelServer) -> None:
    port = int(model.url.rpartition(":")[2])
    with pytest.raises(GatewayDown, match=rf"gateway.port: the gateway cannot listen on 127.0.0.1:{port}"):
        start(tmp_path, config.model_copy(update={"port": port}))
    assert lock.is_free(GatewayHome(tmp_path).lock)


def test_a_configuration_file_that_is_wrong_is_refused_with_its_place(tmp_path: Path, config: GatewayConfig) -> None:
    place = GatewayHome(tmp_path)
    place.make()
    place.config.write_text(json.dumps({"artifacts": "relative"}))
    argv = [each for each in launch.command(place) if each != "--detach"]
    ended = subprocess.run(argv, check=False, timeout=30, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "config.json" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_reload_of_a_wrong_file_is_refused_and_changes_nothing(tmp_path: Path, config: GatewayConfig) -> None:
    running = start(tmp_path, config)
    GatewayHome(tmp_path).config.write_text("{")
    with pytest.raises(GatewayError, match=r"config\.json"):
        running.control.reload()
    assert running.ask(running.control.open(grant()), chat("x")).status == 200
