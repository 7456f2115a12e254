"""Builds and checks: what is the candidate's fault, what is ours, and how counts are read."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.config import SubstrateSettings
from moss.domain.events import Outcome
from moss.engine.build import TAIL, read_check
from moss.errors import BuildBroken, NoSpace
from moss.ports import BoxExit, BoxRole, ExitReason
from moss.testing.puppet import Attempt
from moss.testing.workbench import Workbench, workbench

FIX = ("case-1",)
OK = BoxExit(0, ExitReason.EXITED, 1.0)
BAD = BoxExit(1, ExitReason.EXITED, 1.0)


@pytest.fixture
def small(tmp_path: Path) -> Workbench:
    return workbench(tmp_path / "bench", cases=1)


@pytest.mark.parametrize(
    ("said", "passed", "failed"),
    [
        ("===== 12 passed in 0.52s =====", 12, 0),
        ("===== 2 failed, 10 passed in 3s =====", 10, 2),
        ("== 1 failed, 435 passed, 3 skipped, 2 warnings in 40s ==", 435, 1),
        ("3 passed, 1 error in 1s", 3, 1),
        ("......\nRan 12 tests in 0.1s\n\nOK\n", 12, 0),
        ("F...\nRan 4 tests in 0.1s\n\nFAILED (failures=1)\n", 3, 1),
        ("Ran 9 tests in 2s\n\nFAILED (failures=1, errors=2)", 6, 3),
        ("all good", None, None),
        ("", None, None),
    ],
)
def test_counts_are_read_where_the_output_has_them(said: str, passed: int | None, failed: int | None) -> None:
    found = read_check(OK, said)
    assert (found.passed, found.failed, found.ok) == (passed, failed, True)


def test_the_exit_code_decides_and_never_the_output() -> None:
    assert not read_check(BAD, "12 passed").ok
    assert read_check(OK, "3 failed, 0 passed").ok
    killed = read_check(BoxExit(0, ExitReason.DEADLINE, 9.0), "12 passed")
    assert not killed.ok
    assert killed.tail.endswith("the box ended it: deadline")


def test_only_a_failed_check_keeps_its_output_and_no_more_than_its_end() -> None:
    assert read_check(OK, "x" * 9000).tail == ""
    assert read_check(BAD, "x" * 9000 + "the end").tail == ("x" * 9000 + "the end")[-TAIL:]


@given(st.text(), st.integers(0, 255))
def test_no_output_breaks_the_reading(said: str, code: int) -> None:
    found = read_check(BoxExit(code, ExitReason.EXITED, 1.0), said)
    assert found.ok is (code == 0)


async def test_without_a_check_nothing_is_run_and_it_says_so(tmp_path: Path) -> None:
    bench = workbench(tmp_path / "bench", cases=1, substrate=SubstrateSettings(name="puppet"))
    run = await bench.whole(Attempt(fixes=FIX))
    assert run.outcome is Outcome.COMMITTED
    assert run.iterations[0].check is not None
    assert not run.iterations[0].check.ran
    assert not [spec for spec in bench.boxes.launched if spec.role is BoxRole.CHECK]


async def test_a_live_version_that_fails_its_own_check_is_not_worked_on(small: Workbench) -> None:
    from moss.testing.puppet import Puppet

    tree = small.builder.tree(small.base)
    Puppet.of(tree).model_copy(update={"checks": False}).write(tree)
    run = await small.whole(Attempt(fixes=FIX))
    assert run.outcome is Outcome.FAILED
    assert "the live version fails its own check (11 of its own tests pass, 1 fail)" in run.because
    assert not run.trials
    assert not small.paid


async def test_a_build_that_breaks_for_our_reasons_is_tried_again(small: Workbench) -> None:
    small.builder.fail("*/build/1", BuildBroken("the engine was restarted"))
    run = await small.whole(Attempt(fixes=FIX))
    assert run.outcome is Outcome.COMMITTED
    assert [key for key in small.builder.built if "/build/" in key] == ["ev-01/1/build/1", "ev-01/1/build/1.2"]


async def test_a_build_is_not_begun_below_the_watermark(small: Workbench) -> None:
    retention = small.parts.settings.retention.model_copy(update={"free_bytes": 2 << 30})
    run = (
        await small.with_settings(retention=retention).with_parts(free_bytes=lambda: 1 << 30).whole(Attempt(fixes=FIX))
    )
    assert run.outcome is Outcome.FAILED
    assert run.because.startswith("NoSpace: 1024 MiB free, 2048 MiB are kept free before a build")
    assert not [key for key in small.builder.built if "/build/" in key]


async def test_a_disk_that_fills_up_under_a_build_asks_the_operator(small: Workbench) -> None:
    small.builder.fail("*/build/*", NoSpace("the disk is full"))
    run = await small.whole(Attempt(fixes=FIX))
    assert run.outcome is Outcome.FAILED
    assert [out.notice.kind for out in small.store.due(small.clock.now(), 100)].count("operator_needed") == 1


async def test_the_log_of_a_build_is_kept_and_its_end_is_the_feedback(small: Workbench) -> None:
    run = await small.whole(Attempt(fixes=FIX, becomes={"builds": False}), Attempt(fixes=FIX))
    build = run.iterations[0].build
    assert build is not None
    assert build.version is None
    assert build.log is not None
    assert b"does not build" in (small.store.get(build.log) or b"")
    assert "puppet.json says that it does not build" in build.tail
