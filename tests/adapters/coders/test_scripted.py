"""The scripted coding agent: the adapter, and the real program as the box would run it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.adapters.coders.scripted import ScriptedCoder
from moss.domain.ids import Key
from moss.errors import UserError
from moss.ports import CoderEvent, CoderRole, CoderTask, EventKind

STEP = {"stage": "implement", "result": {"summary": "done"}}


def task(stage: str = "implement", iteration: int = 1, round: int = 1, key: str = "ev-01/1/implement/1") -> CoderTask:
    return CoderTask(Key(key), CoderRole.EDITOR, stage, iteration, round, "the prompt", {})


class Desk:
    """A work tree and a script; `run` is what a box does with the adapter's command."""

    def __init__(self, folder: Path, *steps: dict[str, object], calls: bool = False) -> None:
        self.folder, self.work = folder, folder / "work"
        self.work.mkdir()
        (self.work / "app.py").write_text("x = 1\ny = 1\n")
        (folder / "script.json").write_text(json.dumps({"steps": steps}))
        self.ledger = folder / "calls"
        self.coder = ScriptedCoder(folder / "script.json", self.ledger if calls else None)

    def run(self, asked: CoderTask, prompt: bytes | None = None) -> tuple[int, list[CoderEvent]]:
        command = self.coder.command(asked, "http://gateway", "token")
        inside = self.folder / "in"
        inside.mkdir(exist_ok=True)
        for name, data in command.files.items():
            (inside / name).write_bytes(data)
        argv = [word.replace("{in}", str(inside)) for word in command.argv]
        text = command.stdin if prompt is None else prompt
        # To a file, not a pipe: a forked child keeps a pipe open long after the program has ended.
        with (self.folder / "stdout").open("w+b") as out:
            ended = subprocess.run(
                argv, input=text, cwd=self.work, env=dict(command.env), stdout=out, timeout=20, check=False
            )
            out.seek(0)
            return ended.returncode, [event for line in out for event in self.coder.parse(line)]


def test_a_step_edits_the_tree_and_gives_its_result(tmp_path: Path) -> None:
    desk = Desk(
        tmp_path,
        {
            **STEP,
            "edits": [
                {"path": "app.py", "find": "x = 1", "replace": "x = 2"},
                {"path": "tests/test_x.py", "create": "assert True\n"},
                {"path": "app.pyc", "delete": True},
            ],
        },
    )
    code, events = desk.run(task())
    assert code == 0
    assert (desk.work / "app.py").read_text() == "x = 2\ny = 1\n"
    assert (desk.work / "tests/test_x.py").read_text() == "assert True\n"
    assert [event.text for event in events if event.kind is EventKind.FILE][:1] == ["app.py"]
    assert events[-1] == CoderEvent(EventKind.RESULT, result={"summary": "done"})


def test_the_first_step_that_fits_is_done(tmp_path: Path) -> None:
    desk = Desk(
        tmp_path,
        {**STEP, "iteration": 2, "result": {"of": "iteration 2"}},
        {**STEP, "round": 2, "result": {"of": "round 2"}},
        {**STEP, "result": {"of": "any"}},
        {**STEP, "result": {"of": "never"}},
    )
    results = [desk.run(task(iteration=i, round=r))[1][-1].result for i, r in [(2, 2), (1, 2), (3, 1)]]
    assert [result and result["of"] for result in results] == ["iteration 2", "round 2", "any"]


def test_a_step_that_is_not_there_is_named(tmp_path: Path) -> None:
    _, events = Desk(tmp_path, STEP).run(task(stage="plan", iteration=3, round=2))
    assert events[-1].error == "CoderFailed"
    assert events[-1].text == "the script has no step for plan, iteration 3, round 2"


@pytest.mark.parametrize("text", ["absent", "= 1"])
def test_a_text_to_replace_must_be_there_once(tmp_path: Path, text: str) -> None:
    step = {**STEP, "edits": [{"path": "app.py", "find": text, "replace": "z"}]}
    _, events = Desk(tmp_path, step).run(task())
    assert events[-1].error == "CoderFailed"
    assert "not once" in events[-1].text


def test_every_paid_call_leaves_a_line(tmp_path: Path) -> None:
    desk = Desk(tmp_path, STEP, calls=True)
    desk.run(task())
    desk.run(task(stage="plan", key="ev-01/1/plan/1"))
    assert [json.loads(line)["key"] for line in desk.ledger.read_text().splitlines()] == [
        "ev-01/1/implement/1",
        "ev-01/1/plan/1",
    ]


def test_a_bad_result_is_corrected_only_where_the_step_says_so(tmp_path: Path) -> None:
    steps = [{**STEP, "fault": "bad-result", "corrects": True}, {**STEP, "stage": "plan", "fault": "bad-result"}]
    desk = Desk(tmp_path, *steps)
    wrong = {"not": "what the schema asks for"}
    fixed = task(key="ev-01/1/implement/1/fix")
    assert desk.run(task())[1][-1].result == wrong
    assert desk.run(fixed)[1][-1].result == {"summary": "done"}
    assert desk.run(task("plan", key="ev-01/1/plan/1/fix"))[1][-1].result == wrong


def test_a_corrective_retry_edits_nothing_twice(tmp_path: Path) -> None:
    edits = [{"path": "app.py", "find": "x = 1", "replace": "x = 2"}]
    desk = Desk(tmp_path, {**STEP, "fault": "bad-result", "corrects": True, "edits": edits})
    desk.run(task())
    assert desk.run(task(key="ev-01/1/implement/1/fix"))[1][-1].result == {"summary": "done"}


@pytest.mark.parametrize(
    ("fault", "code", "last"),
    [
        ("garbage", 0, EventKind.TEXT),
        ("exit1", 1, EventKind.TEXT),
        ("empty", 0, EventKind.USAGE),
        ("refuse", 0, EventKind.ERROR),
        ("long-line", 0, EventKind.RESULT),
        ("unheard-of", 1, EventKind.ERROR),
    ],
)
def test_each_fault_ends_as_it_says(tmp_path: Path, fault: str, code: int, last: EventKind) -> None:
    ended, events = Desk(tmp_path, {**STEP, "fault": fault}).run(task())
    assert (ended, events[-1].kind) == (code, last)


def test_a_fork_leaves_a_child_that_ignores_a_polite_end(tmp_path: Path) -> None:
    _, events = Desk(tmp_path, {**STEP, "fault": "fork"}).run(task())
    (pid,) = [int(event.text.split()[1]) for event in events if event.kind is EventKind.TOOL]
    os.kill(pid, 9)
    assert events[-1].kind is EventKind.RESULT


def test_a_hang_waits_for_its_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {**STEP, "fault": "hang"})
    command = desk.coder.command(task(), "", "")
    for name, data in command.files.items():
        (tmp_path / name).write_bytes(data)
    argv = [word.replace("{in}", str(tmp_path)) for word in command.argv]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=desk.work, env={}) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(command.stdin)
        running.stdin.close()
        assert json.loads(running.stdout.readline())["kind"] == "usage"
        assert json.loads(running.stdout.readline())["kind"] == "text"
        assert running.poll() is None
        running.kill()


def test_an_empty_prompt_is_an_error_not_a_paid_call(tmp_path: Path) -> None:
    desk = Desk(tmp_path, STEP, calls=True)
    code, events = desk.run(task(), prompt=b" \n")
    assert (code, events[-1].text) == (1, "the prompt is empty")
    assert not desk.ledger.exists()


def test_the_program_stands_alone(tmp_path: Path) -> None:
    """It is one file of standard library: it runs where MOSS is not installed."""
    program = tmp_path / "scripted_coder.py"
    program.write_bytes(Desk(tmp_path, STEP).coder.command(task(), "", "").files["scripted_coder.py"])
    isolated = subprocess.run([sys.executable, "-I", "-S", str(program), "--help"], capture_output=True, check=False)
    assert isolated.returncode == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "no JSON object with `steps`"),
        ("[]", "no JSON object with `steps`"),
        ('{"steps": 3}', "an object with `stage`"),
        ('{"steps": [{}]}', "an object with `stage`"),
        ("[" * 100_000, "no JSON object with `steps`"),
        (None, "cannot be read"),
    ],
)
def test_a_broken_script_is_one_sentence_with_its_place(tmp_path: Path, text: str | None, says: str) -> None:
    script = tmp_path / "script.json"
    if text is not None:
        script.write_text(text)
    with pytest.raises(UserError, match=says) as refused:
        ScriptedCoder(script)
    assert str(script) in str(refused.value)


@pytest.fixture(scope="module")
def coder(tmp_path_factory: pytest.TempPathFactory) -> ScriptedCoder:
    script = tmp_path_factory.mktemp("script") / "script.json"
    script.write_text('{"steps": []}')
    return ScriptedCoder(script)


@given(line=st.binary())
def test_parse_never_raises_on_bytes(coder: ScriptedCoder, line: bytes) -> None:
    assert all(isinstance(event, CoderEvent) for event in coder.parse(line))


@given(
    said=st.dictionaries(
        st.sampled_from(["kind", "text", "result", "error", "tokens_in", "tokens_out", "money_usd"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.sampled_from([*EventKind])
        | st.lists(st.integers())
        | st.dictionaries(st.text(), st.integers()),
    )
)
def test_parse_never_raises_on_wrong_types(coder: ScriptedCoder, said: dict[str, object]) -> None:
    for event in coder.parse(json.dumps(said).encode()):
        assert event.tokens_in >= 0
        assert 0 <= event.money_usd < 1e9


def test_a_box_that_reaches_no_file_of_the_host_tells_its_calls_and_each_counts_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path, STEP)
    desk.coder = ScriptedCoder(tmp_path / "script.json", desk.ledger, told=True)
    assert str(tmp_path) not in str(desk.coder.command(task(), "http://gateway", "token").env)
    desk.run(task())
    output = (tmp_path / "stdout").read_bytes()
    for line in output.splitlines():
        desk.coder.parse(line)  # the next controller reads all of it again
    desk.run(task(key="ev-01/1/implement/2"))
    assert [json.loads(line)["key"] for line in desk.ledger.read_text().splitlines()] == [
        "ev-01/1/implement/1",
        "ev-01/1/implement/2",
    ]
    assert desk.coder.parse(b'{"kind": "text", "paid": 7}')[0].kind is EventKind.TEXT
