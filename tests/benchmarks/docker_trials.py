"""What a box costs above a bare `docker run --rm` of the same image, and what is left when trials are killed.

ratio      one trial: a box from its launch until it is ready, a turn, its removal; beside it the same container by
           `docker run --rm` with a published port, ready, the same turn, `docker rm -f`. Pairs in turn, one and two
           trials at once; median of the pairs' ratios.
left       a process that does trials is killed (SIGKILL) at random moments and started anew until all are done, then
           the home's orphans are removed as `moss serve` does it: containers and networks that are left.
"""

import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from moss.adapters.boxes.docker import DockerBoxes
from moss.config import DockerBoxes as Settings
from moss.dockerd import home_tag
from moss.domain.ids import Digest, Key, RunId
from moss.errors import BoxLost
from moss.ports import BoxRole, BoxSpec, Image, Mount, MountName, Place, Readiness
from moss.testing.live_docker import docker, sweep, tiny_image
from moss.testing.live_process import Turns, free_port, until
from tests.benchmarks.rows import Row

RUN = RunId("ev-01")
AGENT = ("python3", "-S", "-E", "/agent/agent.py", "--port", "{port}", "--state", "{state}")
LIMIT = 1.15
GATEWAY = 8790
"""nobody listens there: these trials ask no model"""


@dataclass(frozen=True, slots=True)
class Bench:
    """A home on the engine, and the image that its trials run."""

    home: Path
    boxes: DockerBoxes
    image: Image

    def trial(self, name: str) -> None:
        """One trial as MOSS runs it, without what it is judged by."""
        state, key = self._state(name), Key(f"{RUN}/{name}")
        spec = BoxSpec(
            key, RUN, BoxRole.TRIAL, AGENT, self.image, mounts=(Mount(MountName.STATE, state, True),), workdir="/",
            port=True,
        )  # fmt: skip
        _turn(Place(*self.boxes.address(self.boxes.launch(spec))))
        self.boxes.remove(key)

    def bare(self, name: str) -> None:
        """The same container by hand."""
        called, port = f"bare-{uuid.uuid4().hex[:8]}", free_port()
        where = ("-p", f"127.0.0.1:{port}:8080", "-v", f"{self._state(name)}:/data")
        docker("run", "--rm", "-d", "--name", called, *where, self.image.digest)
        try:
            _turn(Place("127.0.0.1", port))
        finally:
            docker("rm", "-f", called)

    def _state(self, name: str) -> Path:
        """A trial that was killed goes on with the state, and the box, that it has."""
        state = self.home / "states" / name
        state.mkdir(parents=True, exist_ok=True)
        return state

    def left(self) -> int:
        """Containers and networks of this home."""
        of = f"label=moss.dev/home={home_tag(self.home)}"
        found = [docker("container", "ls", "-aq", "--filter", of), docker("network", "ls", "-q", "--filter", of)]
        named = docker("network", "ls", "-q", "--filter", f"name=moss-{home_tag(self.home)}")
        return len({*" ".join((*found, named)).split()})


def _turn(place: Place) -> None:
    driver = Turns()
    until(lambda: driver.health(place).readiness is Readiness.READY)
    answer = driver.send(place, "s-1", "hello", 30)
    assert answer.text == "hello", answer


@contextmanager
def bench() -> Iterator[Bench]:
    """A home of its own, of which nothing is left."""
    home = Path(tempfile.mkdtemp(prefix="moss-bench-")).resolve()
    made = Bench(home, DockerBoxes(home, Settings(), GATEWAY), tiny_image("1"))
    try:
        yield made
    finally:
        _reap(made.boxes)
        shutil.rmtree(home, ignore_errors=True)
        sweep()


def _reap(boxes: DockerBoxes) -> None:
    """What the controller does with the boxes of a run that nobody works on, and what its end does with its slots."""
    for box in boxes.list():
        boxes.remove(box.key)
    boxes.close()


# ------------------------------------------------------------------ ratio


def measure_ratio(quick: bool) -> list[Row]:
    pairs = 1 if quick else 7
    rows = []
    with bench() as made:
        for width, word in ((1, "one"), (2, "two")):
            _beside(width, made.trial, "warm")  # the self-test, and slots held ready
            found = [_pair(made, width, number) for number in range(pairs)]
            ours, theirs = (statistics.median(seconds) for seconds in zip(*found, strict=True))
            ratio = statistics.median(own / bare for own, bare in found)
            beside = f"{ours:.2f} s, by hand {theirs:.2f} s, {pairs} pairs"
            says = f"a trial, {word} at once, against `docker run --rm` of the same image, a turn, its removal"
            rows.append(Row(f"docker_trial_ratio_{word}", says, round(ratio, 3), LIMIT, "x", beside=beside))
    return rows


def _pair(made: Bench, width: int, number: int) -> tuple[float, float]:
    """Seconds of MOSS's and of the bare one, in changing order."""
    ways = (made.trial, made.bare)
    first, second = ways if number % 2 else ways[::-1]
    took = {way: _beside(width, way, f"{width}-{number}-{way.__name__}") for way in (first, second)}
    return took[made.trial], took[made.bare]


def _beside(width: int, do: Callable[[str], None], name: str) -> float:
    """Seconds until so many at once are done."""
    began = time.monotonic()
    with ThreadPoolExecutor(width) as pool:
        for _ in pool.map(do, [f"{name}-{place}" for place in range(width)]):
            pass
    return time.monotonic() - began


# ------------------------------------------------------------------ left


def measure_left(quick: bool) -> list[Row]:
    trials, draw = (6, random.Random(3)) if quick else (200, random.Random(3))
    with bench() as made:
        made.trial("warm")
        done = kills = 0
        while done < trials:
            more, killed = _until_killed(made, done, trials, draw)
            done, kills = done + more, kills + killed
        _reap(DockerBoxes(made.home, Settings(), GATEWAY))
        left = made.left()
    says = f"containers and networks left after {trials} trials"
    return [Row("docker_left", says, left, 0, "", beside=f"{kills} times the process that did them was killed")]


def _until_killed(made: Bench, first: int, trials: int, draw: random.Random) -> tuple[int, bool]:
    """How many trials ended before the process was killed, and whether it was."""
    argv = [sys.executable, "-m", __name__, str(made.home), made.image.digest, str(first), str(trials)]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(argv, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it works from here on
        try:
            process.wait(draw.uniform(0.05, 3.0))
        except subprocess.TimeoutExpired:
            process.kill()
        ended = len(process.stdout.read().split())
    assert process.returncode in (0, -signal.SIGKILL), process.returncode
    return ended, process.returncode != 0


def main(words: list[str]) -> None:
    """Trials one after another; says each one's number at its end."""
    home, digest, first, last = Path(words[0]), Digest(words[1]), int(words[2]), int(words[3])
    made = Bench(home, DockerBoxes(home, Settings(), GATEWAY), Image(digest, "tiny:1", None))
    print("ready", flush=True)
    for number in range(first, last):
        try:
            made.trial(f"t-{number}")
        except BoxLost:  # whoever was killed had begun to remove it: an invalid trial, which is run again
            made.boxes.remove(Key(f"{RUN}/t-{number}"))
            made.trial(f"t-{number}")
        print(number, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
