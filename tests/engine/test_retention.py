"""What retention drops, and what it never drops; and which lines a substrate says it ran."""

from datetime import timedelta

from moss.config import RetentionSettings
from moss.domain.depth import Depth
from moss.domain.events import Outcome
from moss.engine.retention import retain
from moss.engine.trial_run import changed_lines_ran
from moss.testing.puppet import Attempt
from moss.testing.workbench import Workbench

ALL = ("case-1", "case-2", "case-3")


def later(bench: Workbench) -> tuple[int, int, int]:
    return retain(bench.parts, bench.clock.now() + timedelta(days=40))


async def test_a_committed_run_keeps_both_sides_of_its_undo_and_its_snapshot(bench: Workbench) -> None:
    bench = bench.with_settings(retention=RetentionSettings(candidates=1, snapshots=1))
    run = await bench.whole(Attempt(fixes=ALL))
    assert run.outcome is Outcome.COMMITTED
    dropped = later(bench)
    assert dropped[1:] == (0, 0)
    held = {image.digest for image in bench.builder.list()}
    assert {run.started.base.image, bench.target.current().image.digest} <= held
    assert run.iterations[0].diff is not None
    assert bench.store.get(run.iterations[0].diff) is not None
    bench.desk.rollback(run.id, "bob", "odd")
    assert (await bench.go(run.id)).outcome is Outcome.REVERTED


async def test_candidates_that_nobody_needs_go_oldest_first(bench: Workbench) -> None:
    bench = bench.with_settings(retention=RetentionSettings(candidates=1))
    # Each attempt differs, so each makes an image of its own.
    run = await bench.whole(Attempt(), Attempt(), depth=Depth.STANDARD)
    assert run.outcome is Outcome.NO_IMPROVEMENT
    made = [
        one.build.version.image for one in run.iterations if one.build is not None and one.build.version is not None
    ]
    assert len(set(made)) == 2
    assert later(bench)[1] == 1
    held = {image.digest for image in bench.builder.list()}
    assert made[-1] in held
    assert made[0] not in held
    assert bench.base in held


async def test_a_run_that_is_open_loses_nothing(bench: Workbench) -> None:
    bench = bench.with_settings(retention=RetentionSettings(candidates=1))
    run_id = bench.attempts(Attempt(fixes=ALL)).start()
    run = await bench.go(run_id)
    assert run.statement is not None
    assert later(bench)[1] == 0
    bench.approve(run_id)
    assert (await bench.go(run_id)).outcome is Outcome.COMMITTED


def test_changed_lines_are_matched_by_path_and_number() -> None:
    changed = {"a.py": [3, 4], "b.py": [9]}
    assert changed_lines_ran(changed, b'{"a.py": [1, 4]}') is True
    assert changed_lines_ran(changed, b'{"a.py": [9], "c.py": [3]}') is False
    for odd in (None, b"", b"{", b"[]", b'{"a.py": 3}'):
        assert changed_lines_ran(changed, odd) is None
