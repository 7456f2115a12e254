"""What the clerk's tests share: real processes of it, a scripted model, and the demo's coding agent."""

import importlib.util
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from moss.adapters.turns.openai import OpenAiDriver
from moss.config import HealthSettings, OpenAiTurn, Settings
from moss.domain.evidence import Turn
from moss.domain.results import CodeReview, Implemented, Located, Plan, PlanReview
from moss.ports import Place, Readiness

ROOT = Path(__file__).parents[3]
CLERK = ROOT / "examples" / "clerk"
CODER = ROOT / "moss" / "testing" / "scripted_coder.py"
DRIVER = OpenAiDriver(OpenAiTurn(), None, HealthSettings())
RESULTS = {
    "locate": Located,
    "plan": Plan,
    "plan_review": PlanReview,
    "implement": Implemented,
    "code_review": CodeReview,
}


class Model(ThreadingHTTPServer):
    """An OpenAI-compatible model that answers by `examples/clerk/script/model.json`. `gate` holds answers back."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.rules = json.loads((CLERK / "script" / "model.json").read_text())["rules"]
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()
        self.turns: list[str] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Answer(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        last = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]
        self.server.turns.append(self.headers["X-Moss-Turn"])
        self.server.asked.set()
        self.server.gate.wait(10)
        if self.server.answer:
            return self.server.answer(self)
        delta, finish = _scripted(self.server.rules, last)
        self.begin()
        self.event({"delta": delta, "finish_reason": None})
        self.event({"delta": {}, "finish_reason": finish})
        self.wfile.write(b"data: [DONE]\n\n")

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()

    def event(self, choice: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps({"choices": [{"index": 0, **choice}]}).encode() + b"\n\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


def _scripted(rules: list[dict[str, Any]], last: dict[str, Any]) -> tuple[dict[str, Any], str]:
    for rule in rules:
        hit = re.search(rule["pattern"], last["content"], re.DOTALL | re.IGNORECASE)
        if hit is None or rule["role"] not in (last["role"], "any"):
            continue

        def fill(text: str, hit: re.Match[str] = hit) -> str:
            return re.sub(r"\{(\d)\}", lambda group: hit.group(int(group[1])), text)

        calls = [
            {"index": place, "id": f"c{place}", "type": "function", "function": _function(call, fill)}
            for place, call in enumerate(rule.get("tool_calls", []))
        ]
        return ({"tool_calls": calls}, "tool_calls") if calls else ({"content": fill(rule["text"])}, "stop")
    raise AssertionError(f"no rule for {last}")


def _function(call: dict[str, Any], fill: Callable[[str], str]) -> dict[str, str]:
    arguments = json.dumps({name: fill(value) for name, value in call["arguments"].items()})
    return {"name": call["name"], "arguments": arguments}


class Clerk:
    """A clerk process of the source `tree` on the `state` folder."""

    def __init__(self, model: Model, state: Path, tree: Path = CLERK, **env: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.place = Place(port=free.getsockname()[1])
        settings = {"PYTHONPATH": str(tree), "CLERK_MODEL_URL": model.url, "CLERK_MODEL_KEY": "k", **env}
        argv = [sys.executable, "-B", "-m", "clerk", "--port", str(self.place.port), "--state", str(state)]
        self.state = state
        self.process = subprocess.Popen(
            argv, env=settings, cwd=tree, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def ready(self) -> "Clerk":
        until = time.monotonic() + 20
        while DRIVER.health(self.place).readiness is not Readiness.READY:
            assert self.process.poll() is None, self.errors()
            assert time.monotonic() < until, "not ready"
            time.sleep(0.01)
        return self

    def ask(self, session: str, message: str) -> str:
        answer = DRIVER.send(self.place, session, message, 20)
        assert answer.status == 200, answer
        return answer.text

    def turns(self, session: str | None = None) -> list[Turn]:
        """Its evidence, held against the words of the product."""
        lines = [
            json.loads(line)
            for path in sorted((self.state / "sessions").glob(f"{session or '*'}.jsonl"))
            for line in path.read_text().splitlines()
        ]
        assert all(line.pop("v") == 1 for line in lines)
        return [Turn.model_validate(line) for line in lines]

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(20)

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()


Start = Callable[..., Clerk]


@pytest.fixture
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.gate.set()
    made.shutdown()
    made.server_close()


@pytest.fixture
def start(model: Model, tmp_path: Path) -> Iterator[Start]:
    """Starts a clerk that is ready; all of them are gone at the end."""
    made: list[Clerk] = []

    def start(state: str = "state", tree: Path = CLERK, **env: str) -> Clerk:
        made.append(Clerk(model, tmp_path / state, tree, **env))
        return made[-1].ready()

    yield start
    for clerk in made:
        clerk.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A work tree of the clerk, as a coding agent gets it."""
    ignore = shutil.ignore_patterns("__pycache__", "state", ".moss")
    return Path(shutil.copytree(CLERK, tmp_path / "tree", ignore=ignore))


@pytest.fixture(scope="module")
def traffic() -> ModuleType:
    spec = importlib.util.spec_from_file_location("clerk_traffic", CLERK / "traffic.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def settings() -> Settings:
    with (CLERK / "moss.toml").open("rb") as file:
        return Settings.model_validate({**tomllib.load(file), "root": CLERK, "home": CLERK / ".moss"})


def grade(state: Path, order: str) -> int:
    argv = [sys.executable, "-B", str(CLERK / "graders" / "refunded_once.py"), str(state), order]
    return subprocess.run(argv, capture_output=True, check=False).returncode


def code(tree: Path, script: str, stage: str, round: int = 1) -> dict[str, Any]:
    """One call of the demo's scripted coding agent, in the tree. Gives its result."""
    argv = [sys.executable, "-B", str(CODER), "--script", str(CLERK / "script" / script), "--stage", stage]
    argv += ["--iteration", "1", "--round", str(round), "--key", "k"]
    done = subprocess.run(argv, cwd=tree, input=b"go", capture_output=True, check=False)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, events
    return dict(events[-1]["result"])


def own_tests(tree: Path) -> str:
    argv = [sys.executable, "-B", "-m", "unittest", "discover", "-s", f"{tree}/tests", "-t", str(tree)]
    return subprocess.run(argv, cwd=tree, capture_output=True, text=True, check=False).stderr
