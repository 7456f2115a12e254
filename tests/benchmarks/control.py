"""What the controller itself takes for one iteration: locate to verdict, with nothing that it waits for.

The engine, the store (a real file, every commit on the disk), git, prompts, policy and evidence are the real ones. What
is an agent's, a build's or a trial's own is in memory (boxes, builder, turns, gateway), answers at once, and what it
takes all the same is taken off, as is a trial from its fresh state to its record: one runs at a time, so these seconds
and the controller's never overlap. The rest is counted: claims, the journal (an entry for each trial), git, prompts,
the policy, transcripts. One iteration here: 3 failures and 6 guards, 27 trials, reviews accepted in the first round.
"""

import asyncio
import functools
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from examples.clerk.workshop import lay_out
from moss.domain.batch import Batch
from moss.domain.case import Case, CaseKind, Contains, Keypoint
from moss.domain.depth import Depth
from moss.domain.events import Stage
from moss.domain.evidence import Observed, Turn
from moss.domain.ids import CaseId, Key
from moss.domain.trial import Answer
from moss.engine.desk import Wish
from moss.engine.journal import load
from moss.engine.trial_run import TrialRun
from moss.ports import MountName, Place, Probe, Readiness
from moss.settings import load as load_settings
from moss.testing.boxes import FakeBoxes, Running
from moss.testing.builders import FakeBuilder
from moss.testing.gateways import MemoryGateway
from moss.testing.samples import batch, failure, turn
from moss.testing.targets import FakeTarget
from moss.wiring import Wiring
from tests.benchmarks.rows import Row

P = ParamSpec("P")
R = TypeVar("R")
ROUNDS = 2
"""of a code round in the demo's script: the one whose work is accepted"""


class Instant:
    """Turns that are answered at once: well by a candidate, badly by the live version."""

    def send(self, place: Place, session: str, message: str, seconds: float) -> Answer:
        assert place.box is not None
        well = "/it/" in place.box.key or "guard" in place.box.key
        return Answer(status=200, text="it is refunded" if well else "no")

    def health(self, place: Place) -> Probe:
        return Probe(Readiness.READY, "boot", "ready")


class Timed:
    """A part whose calls are counted in seconds."""

    def __init__(self, part: object, watch: "Watch") -> None:
        self._part, self._watch = part, watch

    def __getattr__(self, name: str) -> object:
        found = getattr(self._part, name)
        return self._watch.timed(found) if callable(found) else found


@dataclass
class Watch:
    """Seconds that went by inside of timed calls."""

    seconds: float = 0.0

    def timed(self, call: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(call)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            began = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - began

        return timed

    @contextmanager
    def over(self, kind: type, name: str) -> Iterator[None]:
        """Counts an async method of a class; what is timed inside of it is not counted twice."""
        whole = getattr(kind, name)

        async def timed(*args: object) -> object:
            before, began = self.seconds, time.perf_counter()
            try:
                return await whole(*args)
            finally:
                self.seconds = before + time.perf_counter() - began

        setattr(kind, name, timed)
        try:
            yield
        finally:
            setattr(kind, name, whole)


class InMemory(Wiring):
    """A home whose boxes, builds, turns and live agent are in memory. `watch`: what they took so far."""

    watch: "Watch"

    @classmethod
    def of(cls, wired: Wiring, root: Path) -> "InMemory":
        made = cls(wired.settings, wired.env)
        builder = FakeBuilder(root / "images")
        base = wired.source.resolve("HEAD")
        wired.source.export(base, root / "base")
        image = builder.build(root / "base", base, "clerk:base", Key("base"), root / "base.log")
        theirs = {
            "builder": builder,
            "boxes": FakeBoxes(root / "boxes", {sys.executable: Scripted(made)}, builder.tree),
            "gateway": MemoryGateway(),
            "turns": Instant(),
        }
        watch = Watch()
        parts = {
            "source": wired.source,
            "process_target": FakeTarget([image], image.digest),
            "watch": watch,
        }
        vars(made).update(parts | {name: Timed(part, watch) for name, part in theirs.items()})
        return made


class Scripted:
    """The program of every box: the scripted coder's steps, the substrate's tests, the substrate."""

    def __init__(self, wired: Wiring) -> None:
        script = json.loads((wired.settings.root / "script" / "coder-refund.json").read_text())
        self._steps = {step["stage"]: step for step in script["steps"] if step.get("round", ROUNDS) == ROUNDS}

    def __call__(self, box: Running) -> int:
        if "--stage" in box.argv:
            return self._code(box, self._steps[box.argv[box.argv.index("--stage") + 1]])
        if "unittest" not in box.argv:
            box.stopped.wait()
        return 0

    def _code(self, box: Running, step: dict[str, object]) -> int:
        for edit in step.get("edits", ()):  # type: ignore[attr-defined]
            (box.places[MountName.WORK] / edit["path"]).write_text(edit["create"])
        box.say(b'{"kind": "usage", "tokens_in": 1000, "tokens_out": 200, "money_usd": 0.01}\n')
        box.say(json.dumps({"kind": "result", "result": step["result"]}).encode() + b"\n")
        return 0


def measure(quick: bool) -> list[Row]:
    with in_memory() as wired, wired.watch.over(TrialRun, "run"):
        found = [asyncio.run(iteration(wired, number)) for number in range(1, 2 + (2 if quick else 7))]
    seconds = sorted(found[1:])  # the first one warms up
    says = "control of one iteration of 10 steps and 27 trials, without agents, builds and trials"
    beside = f"median of {len(seconds)}, slowest {seconds[-1] * 1e3:.0f} ms"
    return [Row("control_ms", says, round(statistics.median(seconds) * 1e3, 1), 250, "ms", beside=beside)]


async def iteration(wired: InMemory, number: int) -> float:
    """Seconds from the end of the baseline until the run waits for consent."""
    sealed = a_batch(wired, number)
    run = wired.desk.start(sealed.id, Wish(by="bench", depth=Depth.STANDARD))
    while (step := load(wired.store, run.id).next) is not None and step.stage is Stage.BASELINE:
        await wired.controller.tick(run.id)
    began, theirs = time.perf_counter(), wired.watch.seconds
    await wired.controller.drive(run.id)
    seconds = time.perf_counter() - began - (wired.watch.seconds - theirs)
    run = load(wired.store, run.id)
    assert run.next is not None, (run.outcome, run.because)
    assert (run.next.stage, len(run.iterations)) == (Stage.CONSENT, 1), [one.verdict for one in run.iterations]
    return seconds


def a_batch(wired: Wiring, number: int) -> Batch:
    """Three failures and six guards, sealed."""
    point = Keypoint(
        id="says-refunded", says="says so", check=Contains(text="refunded"), positive=True, observed=Observed.HTTP
    )
    failures = [failure(f"s{number}", ordinal) for ordinal in (1, 2, 3)]
    wired.store.save_scan("bench", failures, [], [], [], wired.clock.now())
    made = batch(wired.store.new_batch_id(), failures)
    sealed = made.model_copy(
        update={
            "cases": tuple(case.model_copy(update={"keypoints": (point,)}) for case in made.cases),
            "guards": tuple(_guard(turn(f"g{number}", ordinal), point) for ordinal in range(1, 7)),
        }
    )
    wired.store.seal(sealed)
    return sealed


def _guard(seen: Turn, point: Keypoint) -> Case:
    name = CaseId(f"guard-{seen.ordinal}")
    return Case(id=name, kind=CaseKind.GUARD, source=seen.id, turn=seen, keypoints=(point,))


@contextmanager
def in_memory() -> Iterator[InMemory]:
    folder = Path(tempfile.mkdtemp(prefix="moss-bench-"))
    place = lay_out(folder / "shop", more=("[trials] -> [boxes]\nparallel = 1\n\n[trials]",))
    settings = load_settings(place.toml, {"MOSS_HOME": str(place.root / ".moss")})
    wired = InMemory.of(Wiring(settings, dict(os.environ)), folder / "memory")
    try:
        yield wired
    finally:
        wired.store.close()  # type: ignore[attr-defined]
        wired.gateway.shut()  # type: ignore[attr-defined]
        shutil.rmtree(folder, ignore_errors=True)
