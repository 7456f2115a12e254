"""Owns the self-test of process boxes: what is open is said, each bound is passed on purpose (`bounds_probe`).

Never changes what is declared: it says what holds. Leaves no box behind.
"""

import sys
from collections.abc import Sequence

from moss.adapters.boxes.bounds_probe import BOUNDS, SECONDS, Trial, prove
from moss.ports import Boxes, Limits, Probed

OPEN = Probed(
    "isolation",
    True,
    "none: boxes are plain processes of this user; they can read its files and reach its network",
    mend="use containers (boxes.kind) for code that you do not trust",
)
GIVEN = {"PATH", "LANG", "HOME", "TMPDIR", "LC_CTYPE", "PYTHONDONTWRITEBYTECODE", "MOSS_BOX"}
"""All that a program finds in its environment beside its spec."""
ENVIRONMENT = Trial(
    "environment",
    "import os; print(' '.join(os.environ))",
    Limits(seconds=SECONDS),
    lambda end, out: end.code == 0 and set(out.decode().split()) <= GIVEN,
)


def probe(boxes: Boxes) -> Sequence[Probed]:
    """One line for what is open, one for each bound."""
    mend = "boxes of plain processes need Linux with /proc mounted"
    return (OPEN, *prove(boxes, (ENVIRONMENT, *BOUNDS), sys.executable, mend))
