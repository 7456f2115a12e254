"""The stages with a mind: what an agent sees, what of its work is taken, and what comes back as feedback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moss.config import SubstrateSettings
from moss.domain.events import ImplementResult, Outcome, Stage, StepDone, read_event
from moss.domain.run import Run
from moss.engine.places import step_folder
from moss.engine.stages import feedback_of
from moss.ports import BoxRole, MountName
from moss.testing.boxes import Running
from moss.testing.puppet import Attempt, Puppet, PuppetCoder
from moss.testing.workbench import Workbench, workbench

FIX = ("case-1",)


@pytest.fixture
def small(tmp_path: Path) -> Workbench:
    return workbench(tmp_path / "bench", cases=1)


def spying(bench: Workbench, spy: Callable[[Path, str], None]) -> Workbench:
    """`spy` looks at each work tree before the agent does its work in it."""
    coder = bench.coder

    class Spied(PuppetCoder):
        def program(self, running: Running) -> int:
            spy(running.places[MountName.WORK], running.argv[1])
            return coder.program(running)

    bench.boxes._programs = {**bench.boxes._programs, "puppeteer": Spied().program}
    return bench


def results(bench: Workbench, run: Run, stage: Stage) -> list[StepDone]:
    events = [read_event(entry.event) for entry in bench.store.entries(run.id)]
    return [event for event in events if isinstance(event, StepDone) and event.step.stage is stage]


def implemented(bench: Workbench, run: Run) -> ImplementResult:
    result = results(bench, run, Stage.IMPLEMENT)[0].result
    assert isinstance(result, ImplementResult)
    return result


# ------------------------------------------------------------------ what it sees


async def test_no_agent_ever_sees_a_hidden_file_and_it_is_in_the_candidate(small: Workbench) -> None:
    seen: dict[str, set[str]] = {}

    def spy(tree: Path, stage: str) -> None:
        seen[stage] = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}

    run = await spying(small, spy).whole(Attempt(fixes=FIX))
    assert set(seen) == {"locate", "plan", "plan_review", "implement", "code_review"}
    assert all("puppet.json" in files for files in seen.values())
    assert not [name for files in seen.values() for name in files if name.startswith("graders")]
    assert run.outcome is Outcome.COMMITTED
    assert run.statement is not None
    assert (small.builder.tree(run.statement.candidate) / "graders/secret.txt").read_text() == "the answer\n"


async def test_what_an_agent_writes_in_the_place_of_a_hidden_file_is_dropped(small: Workbench) -> None:
    run = await small.whole(Attempt(fixes=FIX, writes={"graders/secret.txt": "always 0\n", "graders/mine.txt": "x\n"}))
    assert run.outcome is Outcome.COMMITTED
    assert implemented(small, run).files == 1
    assert run.statement is not None
    tree = small.builder.tree(run.statement.candidate)
    assert (tree / "graders/secret.txt").read_text() == "the answer\n"
    assert not (tree / "graders/mine.txt").exists()


async def test_a_folder_in_the_place_of_a_hidden_file_goes_too(small: Workbench) -> None:
    run = await small.whole(Attempt(fixes=FIX, writes={"graders/secret.txt": None, "graders/secret.txt/x": "mine\n"}))
    assert run.outcome is Outcome.COMMITTED
    assert run.statement is not None
    assert (small.builder.tree(run.statement.candidate) / "graders/secret.txt").read_text() == "the answer\n"


async def test_evidence_lies_in_the_tree_while_the_agent_works_and_never_in_its_diff(small: Workbench) -> None:
    found: list[bool] = []

    def spy(tree: Path, stage: str) -> None:
        found.append(any(path.name for path in tree.rglob("*") if ".moss" in path.parts))

    run = await spying(small, spy).whole(Attempt(fixes=FIX))
    assert found
    assert all(found)
    assert implemented(small, run).files == 1


async def test_each_stage_records_its_prompt_and_its_transcript(small: Workbench) -> None:
    run = await small.whole(Attempt(fixes=FIX))
    for stage in (Stage.LOCATE, Stage.PLAN, Stage.PLAN_REVIEW, Stage.IMPLEMENT, Stage.CODE_REVIEW):
        (done,) = results(small, run, stage)
        assert done.prompt is not None
        assert done.transcript is not None
        assert small.store.get(done.transcript)


async def test_reviewers_and_planners_cannot_write_the_tree(small: Workbench) -> None:
    def spy(tree: Path, stage: str) -> None:
        if stage != "implement":
            Puppet(note="from a reviewer").write(tree)

    run = await spying(small, spy).whole(Attempt(fixes=FIX))
    assert run.outcome is Outcome.COMMITTED
    assert run.statement is not None
    assert Puppet.of(small.builder.tree(run.statement.candidate)).note == "1/1"


# ------------------------------------------------------------------ what is taken


@pytest.mark.parametrize(
    ("writes", "says"),
    [
        ({"tests/test_puppet.txt": None}, "tests/test_puppet.txt"),
        ({"tests/test_puppet.txt": "asks less\n"}, "tests/test_puppet.txt"),
        ({"Makefile": "all:\n"}, "Makefile"),
        ({".github/workflows/x.yml": "on: push\n"}, ".github"),
        ({"notes.txt": "line\n" * 500}, "400"),
        ({"key.txt": "AKIAIOSFODNN7EXAMPLX\n"}, "key.txt"),
        ({"answers.txt": "well done\n"}, "answer"),
    ],
)
async def test_a_breach_of_the_policy_goes_back_as_feedback(
    small: Workbench, writes: dict[str, str | None], says: str
) -> None:
    run = small.attempts(Attempt(fixes=FIX, writes=writes)).start()
    while not small.run(run).iterations or not small.run(run).iterations[0].breaches:
        await small.controller().tick(run)
        assert small.run(run).outcome is None
    made = implemented(small, small.run(run))
    assert made.commit is None
    assert says in " ".join(made.breaches)
    assert small.run(run).iterations[0].work is None


async def test_an_added_test_is_welcome(small: Workbench) -> None:
    run = await small.whole(Attempt(fixes=FIX, writes={"tests/test_more.txt": "asks more\n"}))
    assert run.outcome is Outcome.COMMITTED


async def test_two_harmless_rounds_that_add_up_to_a_breach_are_refused(tmp_path: Path) -> None:
    """The second iteration starts from the first's work; against the base it is too long."""
    substrate = SubstrateSettings(name="puppet", check=("check", "{image}"), max_diff_lines=11)
    bench = workbench(tmp_path / "bench", cases=2, substrate=substrate)
    run = await bench.whole(
        Attempt(fixes=("case-1",), writes={"a.txt": "1\n2\n"}),
        Attempt(fixes=("case-2",), writes={"b.txt": "1\n2\n3\n"}),
        Attempt(idle=True),
        depth="deep",
    )
    second = [done.result for done in results(bench, run, Stage.IMPLEMENT) if done.step.iteration == 2]
    assert second
    assert isinstance(second[0], ImplementResult)
    assert second[0].commit is None
    assert "11" in " ".join(second[0].breaches)


async def test_a_link_out_of_the_tree_is_refused(small: Workbench) -> None:
    outside = small.parts.settings.root / "outside"
    outside.mkdir()

    def spy(tree: Path, stage: str) -> None:
        if stage == "implement":
            (tree / "graders").rmdir()
            (tree / "graders").symlink_to(outside)

    run = spying(small, spy).attempts(Attempt(fixes=FIX)).start()
    while len(small.paid) < 4:
        await small.controller().tick(run)
    made = implemented(small, small.run(run))
    assert made.commit is None
    assert "graders is a link out of the tree" in made.breaches[0]
    assert not list(outside.iterdir())


# ------------------------------------------------------------------ a step that is performed again


@pytest.mark.parametrize("stage", [Stage.PLAN, Stage.IMPLEMENT, Stage.CODE_REVIEW])
async def test_a_step_that_was_done_but_not_recorded_ends_the_same_and_pays_nothing(
    small: Workbench, stage: Stage
) -> None:
    run = small.attempts(Attempt(fixes=FIX)).start()
    while small.run(run).next.stage is not stage:  # type: ignore[union-attr]
        await small.controller().tick(run)

    class Lost(Exception):
        pass

    class Forgetful:
        """A performer whose result is lost, as when the controller is killed before it is recorded."""

        results: list[Any] = []

        async def __call__(self, *words: Any) -> Any:
            self.results.append(await small.performer()(*words))
            raise SystemExit

    paid = len(small.paid)
    forgetful = Forgetful()
    with pytest.raises(SystemExit):
        await small.controller(perform=forgetful).tick(run)
    assert len(small.paid) == paid + 1
    await small.controller().tick(run)
    assert len(small.paid) == paid + 1
    (done,) = results(small, small.run(run), stage)
    assert done.result == forgetful.results[0].result
    small.desk.stop(run, "a")


async def test_a_tree_of_an_earlier_step_is_dropped_when_the_next_begins(small: Workbench) -> None:
    run = await small.go(small.attempts(Attempt(fixes=FIX)).start())
    home = small.parts.settings.home
    for stage in (Stage.LOCATE, Stage.PLAN, Stage.PLAN_REVIEW, Stage.IMPLEMENT):
        (done,) = results(small, run, stage)
        assert not step_folder(home, run.id, done.key).exists()


# ------------------------------------------------------------------ feedback


async def test_each_round_hears_what_the_one_before_was_told(tmp_path: Path) -> None:
    bench = workbench(tmp_path / "bench", cases=1)
    run = await bench.whole(Attempt(fixes=FIX, plans_rejected=1, codes_rejected=1), depth="standard")
    assert run.outcome is Outcome.COMMITTED
    plan = next(spec for spec in bench.boxes.launched if spec.key == "ev-01/1/plan/2")
    code = next(spec for spec in bench.boxes.launched if spec.key == "ev-01/1/implement/2")
    assert b"one of many" in plan.stdin
    assert b"swallows the error" in code.stdin
    first = next(spec for spec in bench.boxes.launched if spec.key == "ev-01/1/plan/1")
    assert b"one of many" not in first.stdin


async def test_the_next_iteration_hears_the_verdict_and_the_lessons(small: Workbench) -> None:
    run = await small.whole(Attempt(fixes=FIX, becomes={"checks": False}), Attempt(fixes=FIX, becomes={"checks": True}))
    assert run.outcome is Outcome.COMMITTED
    locate = next(spec for spec in small.boxes.launched if spec.key == "ev-01/2/locate/1")
    assert b"its own check fails" in locate.stdin
    assert feedback_of(run, Stage.LOCATE)


async def test_guards_are_never_shown_to_a_coding_agent(small: Workbench) -> None:
    """What they are, not what the agent wrote itself: its own diff is shown to its reviewer."""
    await small.whole(Attempt(fixes=FIX, becomes={"broken": ("guard-1",)}), Attempt(fixes=FIX), Attempt(fixes=FIX))
    coders = [spec for spec in small.boxes.launched if spec.role is BoxRole.CODER]
    shown = [spec for spec in coders if "code_review" not in spec.key]
    assert len(shown) == 8
    for spec in shown:
        assert b"guard-1" not in spec.stdin
        assert not [name for name, data in spec.files.items() if b"guard-1" in data]
