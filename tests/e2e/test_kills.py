"""`kill -9` of a real controller at every entry of its journal, on real processes: from the yes to the end.

What every single effect does is tried on fakes (`tests/crash`), with the same wire: here agents, proxy, boxes and
gateway are real, and customers send without pause.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from moss.domain.events import Outcome
from moss.domain.run import Run

from . import mischief
from .mischief import UNSEEN, edits
from .scene import Candidate, Scene

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PROGRAM = Path(__file__).with_name("fused_controller.py")
CUSTOMERS = 2


def controller(scene: Scene, run: Run, moment: int) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(PROGRAM), str(scene.root), run.id, str(moment)]
    env = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)


def assert_end(scene: Scene, run: Run, candidate: Candidate, outcome: Outcome) -> None:
    assert (run.outcome, scene.wired.store.verify(run.id)) == (outcome, None)
    scene.serves(candidate.image if outcome is Outcome.COMMITTED else scene.base)
    assert not scene.wired.boxes.list(run.id)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("does", "outcome", "least"),
    [(mischief.GOOD, Outcome.COMMITTED, 24), (mischief.EXITS_AT_ONCE, Outcome.ROLLED_BACK, 24)],
    ids=["a good swap", "a swap that is rolled back"],
)
def test_killed_at_any_entry_of_the_journal_it_ends_the_same(
    scene: Scene, does: str, outcome: Outcome, least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    candidate = scene.candidate(edits(does, UNSEEN))
    plain = controller(scene, scene.approved(candidate), 0)
    moments = int(plain.stdout.splitlines()[-1])
    assert moments >= least
    tried = range(2, moments + 1, 2)  # after each entry; before the next one is the same moment of the world
    for moment in tried:
        scene.at_rest()
        run = scene.approved(candidate)
        with scene.customers(CUSTOMERS) as steady:
            killed = controller(scene, run, moment)
            assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
            again = controller(scene, run, 0)
            assert again.returncode == 0, again.stderr[-2000:]
        ended = scene.run(run.id)
        assert_end(scene, ended, candidate, outcome)
        tally = steady.tally()
        assert (tally.refused, tally.lost) == (0, 0), (moment, tally.troubles)
        assert scene.gone(ended, tally) == [], moment
    with capsys.disabled():
        print(f"\n{len(tried)} kill points on real processes", end="")
