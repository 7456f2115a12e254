"""How long a person waits for `moss --help` and `moss status`, beside a bare `python -c pass` of the same interpreter.

Each round runs all three after another, each a process of its own from its start to its end; the figures are medians.
`status` is asked of a home at work: a live agent, a gateway, a store in which a run waits for consent. The interpreter
keeps its bytecode, as it does where nobody told it not to.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.rows import Row
from tests.benchmarks.shop import shop

LIMITS = {"help": 0.3, "status": 0.6}


def measure(quick: bool) -> list[Row]:
    with shop() as made:
        made.offered(made.candidate("two"))
        home = str(made.place.root / ".moss")
        words = {"pass": (sys.executable, "-c", "pass"), "help": (*moss(), "--help")}
        words["status"] = (*moss(), "--config", str(made.place.toml), "--home", home, "status")
        took: dict[str, list[float]] = {name: [] for name in words}
        for turn in range(3 if quick else 16):
            for name, argv in words.items():
                seconds = _ran(argv)
                took[name] += [seconds] if turn else []  # the first round warms the disk's cache
    bare = statistics.median(took["pass"])
    return [_row(name, took[name], bare, limit) for name, limit in LIMITS.items()]


def moss() -> tuple[str, ...]:
    """The program as a person calls it."""
    script = Path(sys.executable).with_name("moss")
    return (str(script),) if script.exists() else (sys.executable, "-m", "moss.cli")


def _row(name: str, took: Sequence[float], bare: float, limit: float) -> Row:
    seconds = statistics.median(took)
    beside = f"{seconds / bare:.1f} x `python -c pass`, which took {bare * 1e3:.0f} ms; median of {len(took)}"
    says = f"`moss {'--help' if name == 'help' else name}`, from start to end"
    return Row(f"{name}_seconds", says, round(seconds, 3), limit, "s", beside=beside)


def _ran(argv: Sequence[str]) -> float:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    done = subprocess.run(argv, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    assert done.returncode == 0, (argv, done.returncode, done.stdout[-500:], done.stderr[-500:])
    return seconds
