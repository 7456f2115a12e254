"""One call of a coding agent: what ends it, what it costs, what a second controller finds."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from coder_fakes import OK, CountingGateway, Play, PlayedBoxes, tree_of

from moss import errors
from moss.config import RoleSettings
from moss.domain.budget import Spend
from moss.domain.ids import Key, RunId
from moss.engine.coding import Bounds, CoderOutcome, CodingRunner
from moss.errors import BoxLost, CoderError, GatewayDown, MossError, Refused
from moss.ports import (
    BoxExit,
    CoderCommand,
    CoderEvent,
    CoderRole,
    CoderTask,
    EventKind,
    ExitReason,
    MountName,
    Usage,
)
from moss.prompts import FOLDER
from moss.testing.clock import ManualClock
from moss.testing.stores import MemoryStore

RUN = RunId("ev-01")
KEY = Key("ev-01/1/plan/1")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
TASK = CoderTask(KEY, CoderRole.EDITOR, "plan", 1, 1, "do it", SCHEMA)
ROLE = RoleSettings(seconds=60, money_usd=0.5, tokens=5000)


class Program:
    """A coding agent whose output is the uniform events themselves."""

    name, scripted = "program", False

    def command(self, task: CoderTask, gateway_url: str, token: str) -> CoderCommand:
        return CoderCommand(("program", gateway_url), {"TOKEN": token}, {}, task.prompt.encode())

    def parse(self, line: bytes) -> Sequence[CoderEvent]:
        try:
            said = json.loads(line)
            return (CoderEvent(**{**said, "kind": EventKind(said["kind"])}),)
        except (ValueError, TypeError, KeyError):
            return (CoderEvent(EventKind.TEXT, text=line.decode(errors="replace")),)


def event(kind: str, **said: object) -> bytes:
    return json.dumps({"kind": kind, **said}).encode() + b"\n"


GOOD = event("usage", tokens_in=100, tokens_out=20, money_usd=0.02) + event("result", result={"n": 1})


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Stage:
    """A runner with its surroundings."""

    def __init__(self, folder: Path, *plays: Play, gateway: CountingGateway | None = None, **bounds: float) -> None:
        keys = (KEY, f"{KEY}/fix")
        self.clock = ManualClock()
        self.boxes = PlayedBoxes(self.clock, dict(zip(keys, plays, strict=False)))
        self.gateway, self.store = gateway or CountingGateway(), MemoryStore(self.clock)
        self.tree = tree_of(folder, {"app.py": "x = 1\n"})
        self.bounds = replace(Bounds(), **bounds)

    async def run(self, task: CoderTask = TASK, role: RoleSettings = ROLE, **more: object) -> CoderOutcome:
        """A fresh runner each time: as after a restart of the controller."""
        runner = CodingRunner(
            self.boxes, self.gateway, self.store, self.clock, lambda text: text.replace("s3cret", "[redacted]"),
            ("main",), self.bounds,
        )  # fmt: skip
        return await runner.run(task, Program(), self.tree, role, RUN, **more)

    def transcript(self, outcome: CoderOutcome) -> str:
        return (self.store.get(outcome.transcript) or b"").decode()


async def test_a_good_call_gives_its_result_its_cost_and_its_transcript(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((GOOD,)))
    outcome = await stage.run()
    assert outcome.checked() == {"n": 1}
    assert outcome.spent == Spend(money_usd=0.02, tokens=120, seconds=2.0)
    assert outcome.events == 2
    assert '"result": {"n": 1}' in stage.transcript(outcome)


async def test_the_box_gets_the_prompt_by_stdin_the_tree_the_token_and_the_roles_seconds(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((GOOD,)))
    await stage.run()
    (spec,) = stage.boxes.launched
    assert spec.stdin == b"do it"
    assert spec.env == {"TOKEN": f"token-{KEY}"}
    assert spec.limits.seconds == 60
    assert [(mount.name, mount.source, mount.writable) for mount in spec.mounts] == [(MountName.WORK, stage.tree, True)]


async def test_the_grant_is_the_reservation_and_ends_with_the_call(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((GOOD,)))
    await stage.run()
    (grant,) = stage.gateway.opened
    assert (grant.max_money_usd, grant.max_tokens, grant.upstreams) == (0.5, 5000, ("main",))
    assert stage.gateway.closed == [KEY]


async def test_the_gateways_figure_wins_over_the_programs_own(tmp_path: Path) -> None:
    gateway = CountingGateway(Usage(requests=3, tokens_in=900, tokens_out=50, money_usd=0.3))
    outcome = await Stage(tmp_path, Play((GOOD,)), gateway=gateway).run()
    assert (outcome.spent.money_usd, outcome.spent.tokens) == (0.3, 950)


async def test_a_meter_that_says_nothing_costs_the_whole_reservation(tmp_path: Path) -> None:
    outcome = await Stage(tmp_path, Play((event("result", result={"n": 1}),))).run()
    assert (outcome.spent.money_usd, outcome.spent.tokens) == (0.5, 5000)


async def test_a_gateway_that_is_down_at_the_end_keeps_the_result_and_costs_the_reservation(tmp_path: Path) -> None:
    outcome = await Stage(tmp_path, Play((GOOD,)), gateway=CountingGateway(down={"close": True})).run()
    assert outcome.result == {"n": 1}
    assert outcome.spent.money_usd == 0.5


@pytest.mark.parametrize(
    ("play", "error"),
    [
        (Play((), OK), "CoderEmpty"),
        (Play((), BoxExit(1, ExitReason.EXITED, 1.0), b"boom"), "CoderFailed"),
        (Play((event("text", text="working"),), BoxExit(137, ExitReason.DEADLINE, 60.0)), "CoderHung"),
        (Play((event("text", text="x"),), BoxExit(137, ExitReason.MEMORY, 1.0)), "CoderFailed"),
        (Play((event("text", text="x"),), BoxExit(137, ExitReason.OUTPUT, 1.0)), "CoderFailed"),
        (Play((event("error", error="CoderRefused", text="declined"),), OK), "CoderRefused"),
        (Play((event("error", error="ModelKeyDead", text="401"),), OK), "ModelKeyDead"),
        (Play((event("error", error="ModelLimited", text="429"),), OK), "ModelLimited"),
        (Play((event("error", error="SystemExit", text="odd"),), OK), "CoderFailed"),
        (Play((event("error", error="POLICY", text="odd"),), OK), "CoderFailed"),
        (Play((event("error", text="odd"),), OK), "CoderFailed"),
    ],
)
async def test_each_end_has_its_own_error_by_the_event_stream(tmp_path: Path, play: Play, error: str) -> None:
    outcome = await Stage(tmp_path, play).run()
    assert type(outcome.error) is getattr(errors, error)
    assert outcome.result is None
    with pytest.raises(MossError):
        outcome.checked()


async def test_an_exit_code_proves_nothing_a_result_does(tmp_path: Path) -> None:
    outcome = await Stage(tmp_path, Play((GOOD,), BoxExit(1, ExitReason.EXITED, 1.0))).run()
    assert outcome.result == {"n": 1}


async def test_an_error_that_the_program_recovers_from_is_none(tmp_path: Path) -> None:
    outcome = await Stage(tmp_path, Play((event("error", error="ModelDown", text="500, trying again"), GOOD))).run()
    assert outcome.error is None


async def test_an_error_after_a_result_is_the_end(tmp_path: Path) -> None:
    outcome = await Stage(tmp_path, Play((GOOD, event("error", error="ModelDown", text="500")))).run()
    assert isinstance(outcome.error, errors.ModelDown)


async def test_a_last_text_that_is_json_is_a_result(tmp_path: Path) -> None:
    said = event("text", text='Done.\n```json\n{"n": 4}\n```\n')
    assert (await Stage(tmp_path, Play((said,))).run()).result == {"n": 4}


async def test_a_result_that_breaks_its_schema_is_corrected_once(tmp_path: Path) -> None:
    wrong = event("usage", tokens_in=10, money_usd=0.01) + event("result", result={"n": "many"})
    stage = Stage(tmp_path, Play((wrong,)), Play((GOOD,)))
    outcome = await stage.run()
    assert outcome.result == {"n": 1}
    assert outcome.spent == Spend(money_usd=0.03, tokens=130, seconds=4.0)
    first, second = stage.boxes.launched
    assert second.key == f"{first.key}/fix"
    assert second.stdin.startswith(first.stdin)
    assert b"> its result does not fit the schema: n: 'many' is not of type 'integer'" in second.stdin
    assert [grant.key for grant in stage.gateway.opened] == [KEY]


@pytest.mark.parametrize("result", [{"n": "many"}, {"n": 1, "more": 2}, {}])
async def test_a_result_that_is_wrong_twice_is_invalid(tmp_path: Path, result: dict[str, object]) -> None:
    wrong = event("result", result=result)
    stage = Stage(tmp_path, Play((wrong,)), Play((wrong,)))
    outcome = await stage.run()
    assert isinstance(outcome.error, errors.CoderInvalid)
    assert len(stage.boxes.launched) == 2


@pytest.mark.parametrize("text", ['{"n": NaN}', '{"n": 1, "s": "\\ud800"}', '{"n": 1, "s": "a\\u0000b"}'])
async def test_a_result_that_could_not_be_stored_is_invalid(tmp_path: Path, text: str) -> None:
    said = b'{"kind": "result", "result": ' + text.encode() + b"}\n"
    stage = Stage(tmp_path, Play((said,)), Play((said,)))
    outcome = await stage.run(replace(TASK, schema={"type": "object"}))
    assert isinstance(outcome.error, errors.CoderInvalid)


async def test_words_without_a_result_are_corrected_too(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((event("text", text="all done, believe me"),)), Play((GOOD,)))
    assert (await stage.run()).result == {"n": 1}


async def test_silence_is_a_hang_and_the_box_is_stopped(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((event("text", text="thinking"),), exit=None), idle_seconds=20)
    outcome = await stage.run()
    assert isinstance(outcome.error, errors.CoderHung)
    assert str(outcome.error) == "the coding agent said nothing for 20 s"
    assert stage.boxes.stopped == {KEY}
    assert 20 <= stage.boxes.looks[KEY] <= 25


async def test_output_now_and_then_is_no_hang(tmp_path: Path) -> None:
    slow = [piece for _ in range(4) for piece in (event("text", text="still here"), *[b""] * 15)]
    assert (await Stage(tmp_path, Play([*slow, GOOD]), idle_seconds=20).run()).result == {"n": 1}


async def test_a_program_that_gave_its_result_and_never_ends_is_stopped_and_believed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((GOOD,), exit=None), idle_seconds=5)
    assert (await stage.run()).result == {"n": 1}
    assert stage.boxes.stopped == {KEY}


async def test_an_endless_loop_of_events_is_stopped(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((event("tool", text="again") * 50,) * 10, exit=None), events=100)
    outcome = await stage.run()
    assert str(outcome.error) == "the coding agent made more than 100 events"
    assert stage.boxes.stopped == {KEY}


async def test_more_than_the_reservation_ends_the_call(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((event("usage", tokens_in=10, money_usd=0.6),), exit=None))
    outcome = await stage.run()
    assert isinstance(outcome.error, errors.CoderBudget)
    assert outcome.spent.money_usd == 0.6


async def test_what_the_gateway_stopped_is_out_of_budget(tmp_path: Path) -> None:
    gateway = CountingGateway(Usage(requests=1, money_usd=0.5, exhausted=True))
    outcome = await Stage(tmp_path, Play((event("error", error="ModelDown", text="402"),)), gateway=gateway).run()
    assert isinstance(outcome.error, errors.CoderBudget)


async def test_an_over_long_line_is_cut_marked_and_not_fatal(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((b"x" * 5000 + b"\n" + GOOD,)), line_bytes=1000)
    outcome = await stage.run()
    assert outcome.result == {"n": 1}
    assert "[moss: 4000 bytes of this line were cut]" in stage.transcript(outcome)


async def test_a_transcript_is_bounded_and_says_what_is_missing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((event("text", text="y" * 90) * 100 + GOOD,)), transcript_bytes=2000)
    outcome = await stage.run()
    assert outcome.result == {"n": 1}
    assert len(stage.transcript(outcome)) < 3000
    assert '"moss": "left_out"' in stage.transcript(outcome)


async def test_secrets_and_the_boxs_token_are_not_in_the_transcript(tmp_path: Path) -> None:
    said = event("text", text=f"key s3cret token token-{KEY}")
    stage = Stage(tmp_path, Play((said + GOOD,), stderr=b"s3cret"))
    text = stage.transcript(await stage.run())
    assert "s3cret" not in text
    assert f"token-{KEY}" not in text
    assert "[redacted]" in text


async def test_after_a_kill_the_box_is_found_by_its_key_and_read_from_its_start(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((GOOD[:30], GOOD[30:])))
    first = await stage.run()
    stage.boxes.looks.clear()
    again = await stage.run()
    assert again == first
    assert len(stage.boxes.launched) == 1


async def test_after_a_kill_a_running_box_needs_no_gateway_to_be_followed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((GOOD,)))
    await stage.run()
    stage.gateway.down = {"open": True}
    assert (await stage.run()).result == {"n": 1}


async def test_after_a_kill_a_hang_is_still_a_hang(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((event("text", text="thinking"),), exit=None), idle_seconds=5)
    await stage.run()
    assert isinstance((await stage.run()).error, errors.CoderHung)


async def test_a_gateway_that_is_down_before_the_launch_costs_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((GOOD,)), gateway=CountingGateway(down={"open": True}))
    with pytest.raises(GatewayDown):
        await stage.run()
    assert stage.boxes.launched == []


async def test_a_lost_box_is_an_error_with_a_price(tmp_path: Path) -> None:
    gateway = CountingGateway(Usage(requests=1, money_usd=0.11))
    outcome = await Stage(tmp_path, Play(lost=True), gateway=gateway).run()
    assert isinstance(outcome.error, BoxLost)
    assert not isinstance(outcome.error, CoderError)
    assert outcome.spent.money_usd == 0.11


async def test_started_tells_whether_the_tree_is_in_use(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((GOOD,)))
    runner = CodingRunner(stage.boxes, stage.gateway, stage.store, stage.clock, str)
    assert not await runner.started(KEY, RUN)
    await stage.run()
    assert await runner.started(KEY, RUN)


async def test_forget_removes_both_boxes(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    await CodingRunner(stage.boxes, stage.gateway, stage.store, stage.clock, str).forget(KEY)
    assert stage.boxes.removed == [KEY, f"{KEY}/fix"]


@pytest.mark.parametrize("role", [CoderRole.REVIEWER, CoderRole.PLANNER])
async def test_who_only_reads_gets_a_mount_that_is_not_writable(tmp_path: Path, role: CoderRole) -> None:
    stage = Stage(tmp_path, Play((GOOD,)))
    await stage.run(replace(TASK, role=role))
    assert [mount.writable for mount in stage.boxes.launched[0].mounts] == [False]


async def test_evidence_lies_in_the_tree_while_the_agent_works_and_is_gone_after(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((GOOD,)))
    seen: list[bytes] = []
    launch = stage.boxes.launch

    class Watched(PlayedBoxes):
        def launch(self, spec):  # type: ignore[no-untyped-def]
            seen.append((stage.tree / FOLDER / "turns/01.md").read_bytes())
            return launch(spec)

    stage.boxes.__class__ = Watched
    await stage.run(evidence={"turns/01.md": b"what happened"})
    assert seen == [b"what happened"]
    assert sorted(path.name for path in stage.tree.rglob("*")) == ["app.py"]


async def test_an_agent_that_turns_the_evidence_into_a_link_harms_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((GOOD,)))
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    (stage.tree / ".moss").mkdir()
    (stage.tree / FOLDER).symlink_to(precious)
    await stage.run(evidence={"a": b"x"})
    assert (precious / "file").read_text() == "kept"
    assert names_in(precious) == ["file"]


async def test_a_link_in_the_place_of_our_folder_is_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Play((GOOD,)))
    (stage.tree / ".moss").symlink_to(tmp_path)
    with pytest.raises(Refused, match="is a link"):
        await stage.run(evidence={"a": b"x"})
    assert stage.boxes.launched == []
