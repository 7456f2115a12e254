"""Streams of events and WebSockets without pause through whole swaps: what docs/limits.md says of them, no more."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from moss.domain.events import Outcome
from moss.domain.ids import Key
from moss.domain.run import Run
from moss.domain.swap import Phase

from . import mischief
from .mischief import SEEN, UNSEEN, edits
from .scene import Scene, wait_until
from .talkers import TALKS, Heard, Talkers

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
STREAMS = SOCKETS = 3
RESTART = 1012
"""service restart: clients connect again"""
DIES_IN_THE_WATCH = "threading.Timer(1.5, os._exit, (9,)).start()"


@pytest.fixture(scope="module")
def talking(stage: Scene) -> Scene:
    """The clerk of this file speaks in streams and on sockets: that version is its base."""
    spoken = stage.candidate(TALKS)
    target = stage.wired.process_target
    target.stop(Key("talks"), target.current().image.digest)
    target.install(spoken.image)
    stage.base = spoken.image
    stage.until_ready()
    return stage


@pytest.fixture
def scene(talking: Scene) -> Scene:
    talking.at_rest()
    return talking


@contextmanager
def talkers(scene: Scene) -> Iterator[Heard]:
    """The body runs while all of them talk, and they have heard more when it is over."""
    with Talkers(scene.shop.port, STREAMS, SOCKETS) as talking:
        heard = talking.heard
        wait_until(lambda: heard.whole >= STREAMS and heard.opened == SOCKETS and heard.echoes > 20, 20)
        yield heard
        whole, echoes = heard.whole, heard.echoes
        wait_until(lambda: heard.whole >= whole + 2 * STREAMS and heard.echoes > echoes + 20, 20)


def drained(scene: Scene, run: Run) -> int | None:
    """How many turns in flight ended under the first hold."""
    return next(result.drained for phase, result in scene.phases(run.id) if phase is Phase.HOLD)


def test_a_good_swap_ends_each_stream_whole_and_brings_each_socket_back(scene: Scene) -> None:
    candidate = scene.candidate(edits(mischief.GOOD, SEEN))
    run = scene.approved(candidate)
    with talkers(scene) as heard:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.COMMITTED, "")
    scene.serves(candidate.image)
    assert (heard.refused, heard.cut, heard.told) == ([], 0, 0)
    assert len(heard.boots) == 2, "the old version, then the new one"
    assert heard.closes == {RESTART: SOCKETS}
    assert heard.opened == 2 * SOCKETS
    assert drained(scene, run) in range(1, STREAMS + 1)
    assert run.swap is not None
    assert (run.swap.waited, run.swap.refused) == (STREAMS + SOCKETS, 0)
    assert heard.longest_wait <= run.swap.longest_wait + 1


def test_a_swap_that_is_taken_back_under_the_hold_is_one_wait_for_all_of_them(scene: Scene) -> None:
    run = scene.approved(scene.candidate(edits(mischief.NOT_THE_CANARY, UNSEEN)))
    with talkers(scene) as heard:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.ROLLED_BACK, "not as expected")
    scene.serves(scene.base)
    assert (heard.refused, heard.cut, heard.told) == ([], 0, 0)
    assert len(heard.boots) == 2, "the old version, and its start after the candidate: that one spoke to nobody"
    assert heard.closes == {RESTART: SOCKETS}
    assert heard.opened == 2 * SOCKETS
    assert drained(scene, run) in range(1, STREAMS + 1)


def test_one_that_dies_while_it_talks_cuts_what_it_said_and_refuses_nobody(scene: Scene) -> None:
    scene.rewire(swap__watch_seconds=10)
    run = scene.approved(scene.candidate(edits(DIES_IN_THE_WATCH, UNSEEN)))
    with talkers(scene) as heard:
        run = scene.drive(run.id)
    scene.ended(run, Outcome.ROLLED_BACK, "exited 9")
    scene.serves(scene.base)
    assert heard.refused == []
    assert len(heard.boots) == 3
    assert heard.closes[RESTART] >= SOCKETS
    assert sum(heard.closes.values()) >= 2 * SOCKETS
    assert 1 <= heard.cut + heard.told <= STREAMS + SOCKETS, "those that it was talking to, and none beside"
