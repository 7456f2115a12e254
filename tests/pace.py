"""Owns how much longer a thing may take on a machine that does other things too: bounds are those of an idle one.

The figures themselves are held by `tests/benchmarks`, side by side; a test's bound only tells "at once" from "at the
end of a timeout".
"""

import os


def at_most(seconds: float) -> float:
    """The bound for what takes so long on an idle machine: three times that, for the tests beside it and for a burst
    that the machine's figure shows late, and more where there is more to do than there are cores."""
    return seconds * 3 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
