"""Candidates that are bad on the live state only: no rehearsal sees it, so the swap takes them back by itself."""

from datetime import UTC, datetime

import pytest

from moss.domain.events import Outcome
from moss.domain.swap import Phase

from . import mischief
from .mischief import SEEN, UNSEEN, edits
from .scene import Scene

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# What it does, the phase that sees it, the reason in the journal.
UNSEEN_BY_PREFLIGHT = {
    "exits at once": (mischief.EXITS_AT_ONCE, Phase.PROBE, "exited 7"),
    "exits while it starts": (mischief.EXITS_WHILE_STARTING, Phase.PROBE, "exited 7"),
    "500 to everything": (mischief.ANSWERS_500, Phase.PROBE, "/health answered 500"),
    "never opens its port": (mischief.NEVER_OPENS, Phase.PROBE, "not ready after 4 s: "),
    "dies under the canary": (mischief.DIES_UNDER_THE_FIRST_TURN, Phase.CANARY, "no answer to the canary"),
    "dies under the first message": (mischief.DIES_UNDER_THE_FIRST_MESSAGE, Phase.WATCH, "exited 9"),
    "hangs on SIGTERM": (mischief.HANGS_ON_SIGTERM + mischief.NOT_THE_CANARY, Phase.CANARY, "not as expected"),
    "eats memory": (mischief.EATS_MEMORY, Phase.WATCH, "exited 137"),
    "eats memory while ready": (mischief.EATS_MEMORY_WHILE_READY, Phase.WATCH, "exited 137"),
    "exits after 5 s": (mischief.EXITS_AFTER_5_S, Phase.WATCH, "exited 7"),
    "health but not the canary": (mischief.NOT_THE_CANARY, Phase.CANARY, "not as expected"),
}


CUSTOMERS = 4


@pytest.mark.parametrize("name", UNSEEN_BY_PREFLIGHT)
def test_what_only_the_live_state_shows_is_taken_back(scene: Scene, name: str) -> None:
    does, phase, because = UNSEEN_BY_PREFLIGHT[name]
    scene.rewire(swap__watch_seconds=10)
    run = scene.approved(scene.candidate(edits(does, UNSEEN)))
    with scene.customers(CUSTOMERS) as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.ROLLED_BACK, because)
    scene.unharmed(run, steady.tally(), told=CUSTOMERS if phase is Phase.WATCH else 0)
    assert scene.failed_at(run.id) is phase


def test_one_that_ends_after_five_seconds_is_seen_by_the_watch(scene: Scene) -> None:
    """Preflight, told to watch for less, is over by then: it sees a good one."""
    scene.rewire(swap__watch_seconds=10)
    run = scene.approved(scene.candidate(edits(mischief.EXITS_AFTER_5_S, SEEN)))
    with scene.customers(CUSTOMERS) as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.ROLLED_BACK, "exited 7")
    scene.unharmed(run, steady.tally(), told=CUSTOMERS)
    assert scene.failed_at(run.id) is Phase.WATCH


def test_a_schema_that_the_old_version_does_not_know_brings_the_snapshot_back(scene: Scene) -> None:
    run = scene.approved(scene.candidate(edits(mischief.MIGRATES_AND_DIES_AT_ONCE, UNSEEN)))
    with scene.customers(CUSTOMERS) as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.ROLLED_BACK, "exited 9")
    scene.unharmed(run, steady.tally())
    performed = dict(scene.phases(run.id))
    assert not performed[Phase.R_PROBE].ok
    assert performed[Phase.R_PROBE].because == "exited 3"
    assert performed[Phase.RS_STATE].ok
    assert run.swap is not None
    assert run.swap.lost == ()


def test_what_a_migrating_candidate_answered_is_named_when_the_snapshot_comes_back(scene: Scene) -> None:
    scene.rewire(swap__watch_seconds=10)
    run = scene.approved(scene.candidate(edits(mischief.MIGRATES_AND_DIES_LATER, UNSEEN)))
    with scene.customers(CUSTOMERS) as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.ROLLED_BACK, "exited 9")
    scene.serves(scene.base)
    assert (steady.tally().refused, steady.tally().lost) == (0, 0)
    gone = scene.gone(run, steady.tally())
    assert run.swap is not None
    assert 10 <= len(gone) <= len(run.swap.lost)
    due = scene.wired.store.due(datetime.now(UTC), 1000)
    notice = next(out.notice for out in due if out.notice.run == run.id and out.notice.kind == "rolled_back")
    assert set(notice.body["lost"]) == set(run.swap.lost)


def test_a_good_one_is_committed_and_nobody_notices(scene: Scene) -> None:
    candidate = scene.candidate(edits(mischief.GOOD))
    run = scene.approved(candidate)
    with scene.customers(CUSTOMERS) as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.COMMITTED, "")
    scene.serves(candidate.image)
    tally = steady.tally()
    assert (tally.refused, tally.lost, tally.failed, scene.gone(run, tally)) == (0, 0, 0, [])
