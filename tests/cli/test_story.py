"""The quickstart as a person types it: adopt, scan, serve, start, watch, review, approve, rollback, doctor, down."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from examples.clerk import traffic
from examples.clerk.workshop import Workshop, lay_out
from moss.api.around import serve_runs
from moss.testing.live_process import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(280)]
SHORT = ("watch_seconds = 3 -> watch_seconds = 0.5",)


class Shell:
    """`moss` as a process of its own, in the workshop."""

    def __init__(self, shop: Workshop, keys: Path) -> None:
        self.shop = shop
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MOSS_")}
        self.env: Mapping[str, str] = {**clean, "MOSS_KEYS": str(keys)}
        self.argv = [sys.executable, "-m", "moss.cli"]

    def __call__(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [*self.argv, *words],
            cwd=self.shop.root,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code != 1 and code != 2 else done.stderr

    def serve(self) -> "subprocess.Popen[str]":
        """With a port that is free now: the one it was laid out with may be somebody's by then."""
        head, tail = self.shop.toml.read_text().split("[api]")
        if not serve_runs(self.shop.root / ".moss"):
            tail = re.sub(r"port = \d+", f"port = {free_port()}", tail, count=1)
            self.shop.toml.write_text(f"{head}[api]{tail}")
        return subprocess.Popen(
            [*self.argv, "serve"], cwd=self.shop.root, env=self.env, stdout=subprocess.PIPE, text=True
        )


@pytest.fixture
def moss(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(lay_out(tmp_path / "shop", more=SHORT), tmp_path / "keys")
    yield shell
    shell("down", "--yes")


def until(holds: object, seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_a_person_walks_from_a_failure_to_a_live_version_and_back(moss: Shell) -> None:
    assert "under MOSS" in moss("adopt")
    assert traffic.day("127.0.0.1", moss.shop.port).answered == 23
    assert "9 sessions, 23 turns, 4 failures (4 new), 2 fingerprints. Skipped: 0." in moss("scan")
    assert "refund-twice     3      3" in moss("failures")
    serving = moss.serve()
    try:
        until(lambda: serve_runs(moss.shop.root / ".moss"))
        said = moss("start", "refund-twice")
        assert said.startswith("run ev-01 started: 3 failures sealed as batch b-01, 6 guards, at most 5 iterations")
        watched = moss("watch", "ev-01", code=3)
        for words in (
            "3 of 3 failures reproduce",
            "rejected: swallows the error",
            "3 of 3 fixed, 0 of 6 guards broken",
        ):
            assert words in watched
        review = moss("review", "ev-01", code=3)
        assert "clerk/tools.py  +4 -1" in review
        assert "is still what runs" in review
        assert "mallory is not an approver of `clerk` (approvers: none)" in moss(
            "approve", "ev-01", "--as", "mallory", code=1
        )
        assert "alice is an approver" in moss("keys", "new", "alice")
        assert moss("approve", "ev-01", "--as", "alice", "--yes").startswith("Signed with SHA256:")
        log = moss("log", "ev-01", "--follow")
        for words in ("preflight", "held", "stopped", "snapshot", "released", "watched"):
            assert words in log
        shown = json.loads(moss("show", "ev-01", "--json"))
        assert shown["outcome"] == "committed"
        assert "taken back" in moss("rollback", "--because", "odd answers in the night shift")
        until(lambda: "reverted" in moss("runs"))
        _over_http(moss)
    finally:
        serving.send_signal(signal.SIGTERM)
        out, _ = serving.communicate(timeout=30)
    assert serving.returncode == 0
    assert "ev-01 verdict: 3 of 3 fixed" in out
    assert "ok: the journal of 1 run holds" in moss("log", "--verify")
    checks = {one["name"]: one["level"] for one in json.loads(moss("doctor", "--json"))["looks"]}
    assert {name for name, level in checks.items() if level != "ok"} == {"engine"}


def _over_http(moss: Shell) -> None:
    """The same serve from elsewhere: a token, the CLI over HTTP, the page."""
    port = next(line for line in moss.shop.toml.read_text().split("[api]")[1].splitlines() if "port" in line)
    url = f"http://127.0.0.1:{port.split('=')[1].strip()}"
    token = moss("token", "new", "far", "--role", "viewer", "--quiet").strip()
    moss.env = {**moss.env, "MOSS_TOKEN": token}
    assert "refund-twice  reverted" in moss("--server", url, "runs")
    assert "viewer may not pause" in moss("--server", url, "pause", "--all", code=1)
    assert "refund-twice" in httpx.get(f"{url}/", auth=("any", token)).text


def test_a_second_serve_drives_beside_the_first_and_interrupts_lose_nothing(moss: Shell) -> None:
    moss("adopt")
    first = moss.serve()
    second = None
    try:
        until(lambda: serve_runs(moss.shop.root / ".moss"))
        second = moss.serve()
        assert second.stdout is not None
        assert "another moss serve of this home has the port" in second.stdout.readline()
        assert "moss serve of this home runs" in moss("down", "--yes", code=1)
        (moss.shop.toml).write_text(moss.shop.toml.read_text() + "\n[broken\n")
        assert first.stdout is not None
        assert any("the settings of before stay in force" in line for line in iter(first.stdout.readline, ""))
        moss.shop.toml.write_text(moss.shop.toml.read_text().replace("\n[broken\n", ""))
        assert any("has changed and is in force" in line for line in iter(first.stdout.readline, ""))
    finally:
        for one in (first, second):
            if one is not None:
                one.send_signal(signal.SIGINT)
                one.communicate(timeout=30)
                assert one.returncode == 130


def test_a_port_that_is_taken_is_one_sentence(moss: Shell) -> None:
    import socket

    port = moss.shop.toml.read_text().split("[api]")[1].split("port =")[1].splitlines()[0].strip()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(port)))
        taken.listen()
        assert "cannot be listened on (Address already in use)" in moss("serve", code=2)


def test_a_run_is_driven_in_the_foreground_and_rolled_back_without_serve(moss: Shell) -> None:
    moss("adopt")
    traffic.day("127.0.0.1", moss.shop.port)
    moss("scan")
    moss("start", "refund-twice")
    assert "3 of 3 fixed" in moss("run", "ev-01", code=3)
    moss("keys", "new", "alice")
    moss("approve", "ev-01", "--as", "alice", "--yes")
    assert "released" in moss("run", "ev-01")
    assert "reverted" in moss("rollback", "--because", "odd")
    assert "has ended already: reverted" in moss("run", "ev-01", code=1)


def test_an_agent_that_owns_its_port_is_moved_once_and_back(moss: Shell) -> None:
    shop = moss.shop
    env = {"PATH": os.environ["PATH"], "CLERK_MODEL_URL": "http://127.0.0.1:9/v1", "CLERK_MODEL_KEY": "x"}
    argv = [sys.executable, "-B", "-m", "clerk", "--port", str(shop.port), "--state", str(shop.state)]
    agent = subprocess.Popen(argv, cwd=shop.source, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _answers(shop.port))
        tools = shop.source / "clerk" / "tools.py"
        text = tools.read_text()
        tools.write_text(text + "# not committed\n")
        assert "clerk/tools.py" in moss("adopt", "--yes", code=1)
        tools.write_text(text)
        assert f"process {agent.pid} owns port {shop.port}: the move stops it once" in moss("adopt", code=2)
        assert agent.poll() is None
        assert "under MOSS" in moss("adopt", "--yes")
        assert agent.wait(10) is not None
        assert json.loads(moss("status", "--json"))["live"]["running"]
        assert _answers(shop.port)
        back = json.loads(moss("adopt", "--undo", "--json"))["pid"]
        until(lambda: _answers(shop.port))
        os.kill(back, signal.SIGTERM)
        assert "there is nothing to undo" in moss("adopt", "--undo", code=1)
    finally:
        if agent.poll() is None:
            agent.kill()
        agent.wait(10)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.HTTPError:
        return False
