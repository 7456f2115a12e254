"""The runner with real boxes and the real scripted program: nothing paid twice, nothing left behind."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from coder_fakes import CountingGateway, tree_of

from moss import config, errors
from moss.adapters.boxes.process import ProcessBoxes
from moss.adapters.coders.scripted import ScriptedCoder
from moss.domain.ids import Digest, Key, RunId
from moss.engine.coding import Bounds, CoderOutcome, CodingRunner
from moss.errors import BoxRefused
from moss.ports import CoderRole, CoderTask
from moss.prompts import FOLDER, schema_of
from moss.testing.clock import ManualClock
from moss.testing.stores import MemoryStore

RUN = RunId("ev-01")
KEY = Key("ev-01/1/implement/1")
STEP = {
    "stage": "implement",
    "edits": [{"path": "app.py", "find": "x = 1", "replace": "x = 2"}],
    "result": {"summary": "done"},
}


class RealClock(ManualClock):
    def monotonic(self) -> float:
        return time.monotonic()


def no_image(digest: Digest) -> Path:
    raise BoxRefused("coders need no image")


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.01)


class Bench:
    """A home with real process boxes, a work tree and a script. `runner` gives a new one, as after a restart."""

    def __init__(self, folder: Path, *steps: dict[str, object]) -> None:
        self.home, self.ledger = folder / "home", folder / "calls"
        self.tree = tree_of(folder, {"app.py": "x = 1\n"})
        self.script = folder / "script.json"
        self.script.write_text(json.dumps({"steps": steps}))
        self.coder = ScriptedCoder(self.script, self.ledger)
        self.gateway, self.store = CountingGateway(), MemoryStore(ManualClock())

    @property
    def boxes(self) -> ProcessBoxes:
        return ProcessBoxes(self.home, config.ProcessBoxes(), no_image)

    async def run(
        self, role: CoderRole = CoderRole.EDITOR, seconds: float = 30.0, idle: float = 30.0, **more: object
    ) -> CoderOutcome:
        runner = CodingRunner(
            self.boxes, self.gateway, self.store, RealClock(), str, bounds=Bounds(idle_seconds=idle, grace_seconds=0.2)
        )
        task = CoderTask(KEY, role, "implement", 1, 1, "the prompt", schema_of("implement"))
        settings = config.RoleSettings(seconds=seconds)
        return await runner.run(task, self.coder, self.tree, settings, RUN, **more)  # type: ignore[arg-type]

    @property
    def calls(self) -> list[str]:
        return [json.loads(line)["key"] for line in self.ledger.read_text().splitlines()]

    def left(self) -> list[psutil.Process]:
        """Processes that still work for a box of this home."""
        found = []
        for process in psutil.process_iter():
            try:
                known = " ".join([*process.cmdline(), process.cwd(), *process.environ().values()])
            except (psutil.Error, OSError):
                continue
            if str(self.tree) in known or str(self.home) in known:
                found.append(process)
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*steps: dict[str, object]) -> Bench:
        made.append(Bench(tmp_path, *steps))
        return made[-1]

    yield make
    for each in made:
        for box in each.boxes.list():
            each.boxes.remove(box.key)
        until(lambda each=each: each.left() == [])


async def test_an_editor_changes_the_tree_and_is_paid_once(bench: Callable[..., Bench]) -> None:
    desk = bench(STEP)
    outcome = await desk.run(evidence={"summary.md": b"what happened"})
    assert outcome.checked() == {"summary": "done"}
    assert outcome.spent.money_usd == 0.01
    assert (desk.tree / "app.py").read_text() == "x = 2\n"
    assert not (desk.tree / FOLDER).exists()
    assert desk.calls == [KEY]


@pytest.mark.parametrize("role", [CoderRole.REVIEWER, CoderRole.PLANNER])
async def test_who_only_reads_changes_nothing(bench: Callable[..., Bench], role: CoderRole) -> None:
    desk = bench(STEP)
    assert (await desk.run(role)).result == {"summary": "done"}
    assert (desk.tree / "app.py").read_text() == "x = 1\n"


async def test_a_second_runner_finds_the_box_and_pays_nothing(bench: Callable[..., Bench]) -> None:
    desk = bench(STEP)
    first = await desk.run()
    assert await desk.run() == first
    assert desk.calls == [KEY]


async def test_a_bad_result_is_corrected_in_a_second_box(bench: Callable[..., Bench]) -> None:
    desk = bench({**STEP, "fault": "bad-result", "corrects": True})
    assert (await desk.run()).result == {"summary": "done"}
    assert desk.calls == [KEY, f"{KEY}/fix"]
    assert (desk.tree / "app.py").read_text() == "x = 2\n"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("bad-result", "CoderInvalid"),
        ("garbage", "CoderInvalid"),
        ("exit1", "CoderFailed"),
        ("empty", "CoderEmpty"),
        ("refuse", "CoderRefused"),
    ],
)
async def test_each_fault_is_its_own_error(bench: Callable[..., Bench], fault: str, error: str) -> None:
    step = {**STEP, "fault": fault, "edits": []}
    assert type((await bench(step).run()).error) is getattr(errors, error)


async def test_a_line_of_eight_megabytes_is_cut_and_no_more(bench: Callable[..., Bench]) -> None:
    assert (await bench({**STEP, "fault": "long-line"}).run()).result == {"summary": "done"}


async def test_a_hang_ends_by_silence(bench: Callable[..., Bench]) -> None:
    desk = bench({**STEP, "fault": "hang"})
    outcome = await desk.run(idle=0.3)
    assert isinstance(outcome.error, errors.CoderHung)
    until(lambda: desk.left() == [])


async def test_a_hang_ends_by_the_clock_of_the_box(bench: Callable[..., Bench]) -> None:
    desk = bench({**STEP, "fault": "hang"})
    outcome = await desk.run(seconds=0.5)
    assert isinstance(outcome.error, errors.CoderHung)
    until(lambda: desk.left() == [])


async def test_a_child_that_left_its_session_and_ignores_signals_is_gone(bench: Callable[..., Bench]) -> None:
    desk = bench({**STEP, "fault": "fork"})
    assert (await desk.run()).result == {"summary": "done"}
    until(lambda: desk.left() == [])


@pytest.mark.slow
async def test_a_controller_killed_in_a_call_costs_one_call(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """The controller is a process of its own and dies by SIGKILL; the box goes on, the next controller finds it."""
    desk = bench({**STEP, "think_seconds": 1.0})
    program = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
        "from test_coding_boxes import STEP, Bench;"
        "desk = Bench(Path(sys.argv[2]), {**STEP, 'think_seconds': 1.0}); asyncio.run(desk.run())"
    )
    here = str(Path(__file__).parent)
    controller = await asyncio.create_subprocess_exec(sys.executable, "-c", program, here, str(tmp_path))
    await asyncio.to_thread(until, desk.ledger.exists)
    controller.kill()
    await controller.wait()
    outcome = await desk.run()
    assert outcome.result == {"summary": "done"}
    assert desk.calls == [KEY]
    assert (desk.tree / "app.py").read_text() == "x = 2\n"
