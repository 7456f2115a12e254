"""Bad candidates against a live clerk with customers who never pause: whoever is bad, the old version serves."""

import pytest

from moss.domain.events import Outcome

from . import mischief
from .mischief import SEEN, edits
from .scene import Scene

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SEEN_BY_PREFLIGHT = {
    "exits at once": (mischief.EXITS_AT_ONCE, "it exited 7 before it was ready"),
    "exits while it starts": (mischief.EXITS_WHILE_STARTING, "it exited 7 before it was ready"),
    "500 to everything": (mischief.ANSWERS_500, "/health answered 500"),
    "never opens its port": (mischief.NEVER_OPENS, "it was not ready after 4 s: "),
    "dies under the first turn": (mischief.DIES_UNDER_THE_FIRST_TURN, "it gave no answer to the canary"),
    "hangs on SIGTERM": (mischief.HANGS_ON_SIGTERM + mischief.ANSWERS_500, "/health answered 500"),
    "eats memory": (mischief.EATS_MEMORY + mischief.NEVER_OPENS, "it exited 137 (memory) before it was ready"),
    "health but not the canary": (mischief.NOT_THE_CANARY, "status 200, not as expected"),
    "migrates and dies": (mischief.MIGRATES_AND_DIES_AT_ONCE, "it exited 9 before it was ready"),
}


# A candidate that was ready and answered: what the watch of the preflight is for.
SEEN_BY_ITS_WATCH = {
    "exits after 5 s": (mischief.EXITS_AFTER_5_S, "it exited 7 while it was watched"),
    "eats memory while ready": (mischief.EATS_MEMORY_WHILE_READY, "it exited 137 (memory) while it was watched"),
}


@pytest.mark.parametrize("name", SEEN_BY_PREFLIGHT)
def test_what_preflight_sees_never_touches_the_live_agent(scene: Scene, name: str) -> None:
    if name == "eats memory":
        scene.rewire(trials__memory_bytes=128 << 20)
    _never_touches(scene, *SEEN_BY_PREFLIGHT[name])


@pytest.mark.parametrize("name", SEEN_BY_ITS_WATCH)
def test_what_goes_wrong_a_little_later_is_seen_by_the_watch_of_the_preflight(scene: Scene, name: str) -> None:
    scene.rewire(swap__preflight_watch_seconds=8, trials__memory_bytes=128 << 20)
    _never_touches(scene, *SEEN_BY_ITS_WATCH[name])


def _never_touches(scene: Scene, does: str, because: str) -> None:
    boot = scene.wired.target.current().boot
    run = scene.approved(scene.candidate(edits(does, SEEN)))
    with scene.customers() as steady:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.UNFIT, because)
    scene.unharmed(run, steady.tally())
    assert scene.wired.target.current().boot == boot
    assert run.swap is None
