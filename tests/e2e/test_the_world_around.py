"""What may happen around a swap: images gone, others at work, full disks, killed controllers, slow starts."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moss.domain.events import Outcome
from moss.domain.ids import Key
from moss.domain.swap import Phase, SwapEnd
from moss.errors import Refused

from . import mischief
from .mischief import SEEN, UNSEEN, edits
from .scene import Scene, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
CUSTOMERS = 4


def test_an_image_deleted_before_preflight_ends_the_run_with_the_live_agent_untouched(scene: Scene) -> None:
    boot = scene.wired.target.current().boot
    candidate = scene.candidate(edits(mischief.GOOD))
    run = scene.approved(candidate)
    scene.drop_image(candidate.image)
    with scene.customers() as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.FAILED, "is gone")
    scene.unharmed(run, steady.tally())
    assert scene.wired.target.current().boot == boot


def test_an_image_deleted_after_preflight_ends_the_run_with_the_live_agent_untouched(scene: Scene) -> None:
    boot = scene.wired.target.current().boot
    candidate = scene.candidate(edits(mischief.GOOD))
    run = scene.drive_to(scene.approved(candidate).id, Phase.PREPARE)
    scene.drop_image(candidate.image)
    with scene.customers() as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.FAILED, "is gone")
    scene.unharmed(run, steady.tally())
    assert run.swap is not None
    assert run.swap.end is SwapEnd.UNTOUCHED
    assert scene.wired.target.current().boot == boot


def test_an_image_deleted_under_the_hold_brings_the_old_version_back(scene: Scene) -> None:
    candidate = scene.candidate(edits(mischief.GOOD))
    run = scene.approved(candidate)
    with scene.customers() as steady:
        scene.drive_to(run.id, Phase.START)
        scene.drop_image(candidate.image)
        run = scene.drive(run.id)
    scene.ended(run, Outcome.ROLLED_BACK, candidate.image.digest[:19])
    scene.unharmed(run, steady.tally())
    assert scene.failed_at(run.id) is Phase.START


def replace_by_hand(scene: Scene) -> str:
    """Somebody else puts another version live."""
    other = scene.candidate({"clerk/other.py": f'"""By hand: {len(scene.wired.store.runs())}."""\n'}).image
    scene.wired.target.stop(Key("by-hand"), scene.wired.target.current().image.digest)
    scene.wired.process_target.install(other)
    scene.until_ready()
    return other.digest


def test_a_live_agent_that_somebody_else_replaced_makes_the_approval_void(scene: Scene) -> None:
    run = scene.offer(scene.candidate(edits(mischief.GOOD)))
    replace_by_hand(scene)
    assert run.statement is not None
    with pytest.raises(Refused, match="no longer the base"):
        scene.wired.desk.approve(scene.key.sign(run.statement))
    assert scene.run(run.id) == run


@pytest.mark.parametrize("phase", [None, Phase.PREPARE, Phase.HOLD, Phase.STOP])
def test_a_live_agent_that_somebody_else_replaced_is_never_touched(scene: Scene, phase: Phase | None) -> None:
    """After the approval (None), after preflight, after the preparation, and under the hold."""
    run = scene.approved(scene.candidate(edits(mischief.GOOD)))
    if phase is not None:
        scene.drive_to(run.id, phase)
    other = replace_by_hand(scene)
    boot = scene.wired.target.current().boot
    run = scene.drive(run.id)
    scene.ended(run, Outcome.STALE, "base" if phase in (None, Phase.PREPARE) else "runs")
    live = scene.wired.target.current()
    assert (live.image.digest, live.boot) == (other, boot)
    scene.serves(live.image)


@contextmanager
def nearly_full(folder: Path) -> Iterator[None]:
    """A filesystem of its own with room by its own word, and no place for another file: a copy fails in the middle."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", "size=16m,nr_inodes=7,mode=700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root and `mount` for a small filesystem; run the tests as root in a machine or container")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_while_the_state_is_copied_for_preflight_touches_nothing(scene: Scene) -> None:
    boot = scene.wired.target.current().boot
    run = scene.approved(scene.candidate(edits(mischief.GOOD)))
    with nearly_full(scene.root / "work" / run.id), scene.customers() as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.FAILED, "NoSpace")
    scene.unharmed(run, steady.tally())
    assert scene.wired.target.current().boot == boot


def test_a_disk_that_is_full_while_the_snapshot_is_taken_starts_the_old_version_again(scene: Scene) -> None:
    run = scene.approved(scene.candidate(edits(mischief.GOOD)))
    scene.drive_to(run.id, Phase.PREPARE)
    with nearly_full(scene.root / "live" / "snapshots"), scene.customers() as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.ROLLED_BACK, "NoSpace")
    scene.unharmed(run, steady.tally())
    assert scene.failed_at(run.id) is Phase.SNAPSHOT


def test_less_space_than_the_watermark_stops_a_swap_before_it_begins(scene: Scene) -> None:
    boot = scene.wired.target.current().boot
    run = scene.approved(scene.candidate(edits(mischief.GOOD)))
    scene.rewire(retention__free_bytes=1 << 60)
    with scene.customers() as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.FAILED, "NoSpace")
    scene.unharmed(run, steady.tally())
    assert scene.wired.target.current().boot == boot


def test_a_hold_whose_controller_is_gone_lets_go_by_itself_and_the_swap_goes_on_later(scene: Scene) -> None:
    scene.rewire(swap__hold_deadline_seconds=1)
    candidate = scene.candidate(edits(mischief.GOOD))
    run = scene.drive_to(scene.approved(candidate).id, Phase.STOP)
    assert run.swap is not None
    assert scene.hold.status().held == run.swap.key
    wait_until(lambda: scene.hold.status().held is None, 5)
    scene.rewire()
    with scene.customers() as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.COMMITTED, "")
    scene.serves(candidate.image)
    tally = steady.tally()
    assert (tally.refused, tally.failed, tally.lost, scene.gone(run, tally)) == (0, 0, 0, [])


def test_what_a_candidate_answers_while_the_controller_is_dead_is_not_lost_unnamed(scene: Scene) -> None:
    """Killed while the candidate starts: the hold runs out, the candidate serves, then it dies and the snapshot
    comes back."""
    bounds = {"swap__hold_deadline_seconds": 2.0, "live__start_seconds": 20.0}
    scene.rewire(**bounds)
    does = mischief.ready_after(4) + mischief.MIGRATES_AND_DIES_LATER
    run = scene.approved(scene.candidate(edits(does, UNSEEN)))
    with scene.other_controller(run.id, **bounds) as controller:
        wait_until(lambda: _at(scene, run.id, Phase.PROBE), 30)
        controller.kill()
        controller.wait()
    wait_until(lambda: scene.hold.status().held is None, 10)
    with scene.customers() as steady:
        wait_until(lambda: not scene.wired.target.current().running, 30)
        run = scene.drive_on(run.id, 30)
    scene.ended(run, Outcome.ROLLED_BACK, "exited 9")
    scene.serves(scene.base)
    assert run.swap is not None
    assert len(scene.gone(run, steady.tally())) >= 10
    performed = dict(scene.phases(run.id))
    assert performed[Phase.RS_STATE].ok


@pytest.mark.parametrize("phase", [Phase.PROBE, Phase.WATCH])
def test_a_controller_killed_in_the_swap_is_followed_by_one_that_ends_it(scene: Scene, phase: Phase) -> None:
    """Within the hold's deadline nobody notices."""
    bounds = {"swap__watch_seconds": 3.0}
    scene.rewire(**bounds)
    candidate = scene.candidate(edits(mischief.ready_after(2), UNSEEN))
    run = scene.approved(candidate)
    with scene.customers() as steady:
        with scene.other_controller(run.id, **bounds) as controller:
            wait_until(lambda: _at(scene, run.id, phase), 30)
            controller.kill()
            controller.wait()
        run = scene.drive_on(run.id, 40)
    scene.ended(run, Outcome.COMMITTED, "")
    scene.serves(candidate.image)
    tally = steady.tally()
    assert (tally.refused, tally.failed, tally.lost, scene.gone(run, tally)) == (0, 0, 0, [])


def _at(scene: Scene, run: str, phase: Phase) -> bool:
    swap = scene.run(run).swap  # type: ignore[arg-type]
    return swap is not None and swap.phase is phase


def test_a_start_that_takes_longer_than_a_trial_may_passes_preflight(scene: Scene) -> None:
    scene.rewire(trials__seconds=1, live__start_seconds=15)
    candidate = scene.candidate(edits(mischief.ready_after(3), SEEN))
    run = scene.approved(candidate)
    with scene.customers(CUSTOMERS) as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.COMMITTED, "")
    tally = steady.tally()
    assert (tally.refused, tally.failed, tally.lost, scene.gone(run, tally)) == (0, 0, 0, [])


def test_one_that_is_ready_only_after_forty_seconds_is_a_good_one(scene: Scene) -> None:
    scene.rewire(live__start_seconds=60)
    candidate = scene.candidate(edits(mischief.ready_after(40), UNSEEN))
    run = scene.approved(candidate)
    with scene.customers(CUSTOMERS) as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.COMMITTED, "")
    scene.serves(candidate.image)
    tally = steady.tally()
    assert 40 <= tally.longest_wait <= 45
    assert (tally.refused, tally.failed, tally.lost, scene.gone(run, tally)) == (0, 0, 0, [])
