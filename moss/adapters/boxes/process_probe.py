"""Owns the self-test of process boxes: each bound is passed on purpose, on this very machine.

Never changes what is declared: it says what holds. Leaves no box behind.
"""

import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from moss.domain.ids import Key, RunId
from moss.errors import MossError
from moss.ports import Boxes, BoxExit, BoxRole, BoxSpec, ExitReason, Limits, Probed

RUN = RunId("probe")
SECONDS = 10.0
OPEN = Probed(
    "isolation",
    True,
    "none: boxes are plain processes of this user; they can read its files and reach its network",
    mend="use containers (boxes.kind) for code that you do not trust",
)


GIVEN = {"PATH", "LANG", "HOME", "TMPDIR", "LC_CTYPE", "PYTHONDONTWRITEBYTECODE", "MOSS_BOX"}
"""All that a program finds in its environment beside its spec."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """One bound: a program that passes it, and how its box must look then."""

    name: str
    program: str
    limits: Limits
    holds: Callable[[BoxExit, bytes], bool]


def _ends(reason: ExitReason) -> Callable[[BoxExit, bytes], bool]:
    return lambda end, _: end.reason is reason


TRIALS = (
    _Trial(
        "environment",
        "import os; print(' '.join(os.environ))",
        Limits(seconds=SECONDS),
        lambda end, out: end.code == 0 and set(out.decode().split()) <= GIVEN,
    ),
    _Trial("time", "import time; time.sleep(60)", Limits(seconds=0.2), _ends(ExitReason.DEADLINE)),
    _Trial(
        "memory",
        "import time; x = bytearray(b'x') * (96 << 20); time.sleep(60)",
        Limits(seconds=SECONDS, memory_bytes=64 << 20),
        _ends(ExitReason.MEMORY),
    ),
    _Trial(
        "processes",
        "import os, time\nfor _ in range(12):\n  if not os.fork(): time.sleep(60)\ntime.sleep(60)",
        Limits(seconds=SECONDS, pids=8),
        _ends(ExitReason.PIDS),
    ),
    _Trial("output", "while True: print('x' * 99)", Limits(SECONDS, output_bytes=4096), _ends(ExitReason.OUTPUT)),
)


def probe(boxes: Boxes) -> Sequence[Probed]:
    """One line for what is open, one for each bound."""
    return (OPEN, *(_prove(boxes, trial) for trial in TRIALS))


def _prove(boxes: Boxes, trial: _Trial) -> Probed:
    key = Key(f"{RUN}/{trial.name}/{uuid.uuid4().hex}")
    argv = (sys.executable, "-I", "-S", "-c", trial.program)
    try:
        box = boxes.launch(BoxSpec(key, RUN, BoxRole.CHECK, argv, limits=trial.limits))
        end = boxes.wait(box, 2 * SECONDS)
        ok = end is not None and trial.holds(end, boxes.output(box))
        detail = "holds" if ok else f"does not hold: {end}"
    except MossError as error:
        ok, detail = False, str(error)
    finally:
        boxes.remove(key)
    return Probed(trial.name, ok, detail, None if ok else "boxes of plain processes need Linux with /proc mounted")
