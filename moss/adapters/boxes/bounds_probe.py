"""Owns the self-test of a box's bounds: each is passed on purpose, on this very machine, whatever the boxes are.

Never changes what is declared: it says what holds. Leaves no box behind.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from moss.domain.ids import Key, RunId
from moss.errors import MossError
from moss.ports import Boxes, BoxExit, BoxRole, BoxSpec, ExitReason, Limits, Probed

RUN = RunId("probe")
SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One bound: a program that passes it, and how its box must look then."""

    name: str
    program: str
    limits: Limits
    holds: Callable[[BoxExit, bytes], bool]


def _ends(reason: ExitReason) -> Callable[[BoxExit, bytes], bool]:
    return lambda end, _: end.reason is reason


BOUNDS = (
    Trial("time", "import time; time.sleep(60)", Limits(seconds=0.2), _ends(ExitReason.DEADLINE)),
    Trial(
        "memory",
        "import time; x = bytearray(b'x') * (96 << 20); time.sleep(60)",
        Limits(seconds=SECONDS, memory_bytes=64 << 20),
        _ends(ExitReason.MEMORY),
    ),
    Trial(
        "processes",
        "import os, time\nfor _ in range(12):\n  if not os.fork(): time.sleep(60)\ntime.sleep(60)",
        Limits(seconds=SECONDS, pids=8),
        _ends(ExitReason.PIDS),
    ),
    Trial("output", "while True: print('x' * 99)", Limits(SECONDS, output_bytes=4096), _ends(ExitReason.OUTPUT)),
)
DISK = Trial(
    "disk",
    "import time\nf = open('/moss/out/x', 'wb')\nfor _ in range(64): f.write(b'x' * (1 << 20)); time.sleep(0.02)\n"
    "time.sleep(60)",
    Limits(seconds=SECONDS, disk_bytes=4 << 20),
    _ends(ExitReason.DISK),
)
"""For boxes whose places are below /moss."""


def prove(boxes: Boxes, trials: Sequence[Trial], python: str, mend: str) -> Sequence[Probed]:
    """One line for each trial; `python` is the interpreter as a box without an image knows it."""
    return [_prove(boxes, trial, python, mend) for trial in trials]


def _prove(boxes: Boxes, trial: Trial, python: str, mend: str) -> Probed:
    key = Key(f"{RUN}/{trial.name}/{uuid.uuid4().hex}")
    argv = (python, "-I", "-S", "-c", trial.program)
    try:
        box = boxes.launch(BoxSpec(key, RUN, BoxRole.CHECK, argv, limits=trial.limits))
        end = boxes.wait(box, 2 * SECONDS)
        ok = end is not None and trial.holds(end, boxes.output(box))
        detail = "holds" if ok else f"does not hold: {end}"
    except MossError as error:
        ok, detail = False, str(error)
    finally:
        boxes.remove(key)
    return Probed(trial.name, ok, detail, None if ok else mend)
