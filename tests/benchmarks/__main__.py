"""`python -m tests.benchmarks [--quick] [NAME ...]`: measures, prints a table, and one JSON object as the last line.

A NAME is a group or one of its figures. Exit 0 only when every figure that was asked for is within its limit. Figures
that need what is not there are skipped, with the reason, and are not in the JSON; asked for by name, or named in
MOSS_REQUIRE, they are missed. `--quick` measures little: it shows that the benchmarks work, its figures say nothing.
Never changes anything outside of temporary folders and of what it makes on the engine, and ends what it starts.
"""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from tests.benchmarks import control, docker_trials, scale, scan_speed, start_up, swaps
from tests.benchmarks.docker_shop import docker_shop
from tests.benchmarks.rows import Row, document, table
from tests.conftest import missing


@dataclass(frozen=True, slots=True)
class Group:
    """Figures that are measured together: their names with limits, and what measures them (quick or not).
    `needs`: what has to be there, as `MOSS_REQUIRE` calls it."""

    name: str
    figures: tuple[tuple[str, float], ...]
    measure: Callable[[bool], list[Row]]
    needs: str | None = None

    def skipped(self, names: Sequence[str], required: Sequence[str]) -> str | None:
        """Why it is not measured: what it needs is not there, and nobody asked for it by name."""
        if self.needs is None or (names and self.asked(names)) or self.needs in required:
            return None
        return missing(self.needs)

    def asked(self, names: Sequence[str]) -> bool:
        return not names or self.name in names or any(figure in names for figure, _ in self.figures)

    def rows(self, quick: bool) -> list[Row]:
        """All of its figures, also when they could not be measured: then with the reason."""
        try:
            rows = self.measure(quick)
        except Exception as error:
            because = f"{type(error).__name__}: {error}"[:500]
            return [Row(name, "could not be measured", None, limit, "", beside=because) for name, limit in self.figures]
        assert [(row.name, row.limit) for row in rows] == list(self.figures), rows
        return rows


def _scan(quick: bool) -> list[Row]:
    megabytes, pairs = (200, 1) if quick else (1000, 7)
    found = scan_speed.measure(megabytes, pairs)
    what = f"{megabytes} MB of jsonl, {found.turns:,} turns, {found.failed:,} failed; {pairs} pairs"
    says = "evidence scan, times as fast as json.loads line by line"
    return [
        Row("scan_ratio", says, round(found.ratio, 2), scan_speed.LEAST_RATIO, "x", least=True, beside=what),
        Row("scan_megabytes", "memory of that scan at most", round(found.megabytes, 1), scan_speed.MOST_MEMORY, "MB"),
    ]


IN_CONTAINERS: dict[str, Any] = {"make": docker_shop, "prefix": "docker_"}
GROUPS = (
    Group("gap", (("swap_gap_seconds", 1.0),), swaps.measure_gap),
    Group("refused", (("refused_good", 0), ("refused_bad", 0)), swaps.measure_refused),
    Group("exits", (("exit_seen_seconds", 1.0), ("exit_serving_again_seconds", 3.0)), swaps.measure_exits),
    Group("control", (("control_ms", 250),), control.measure),
    Group("scan", (("scan_ratio", scan_speed.LEAST_RATIO), ("scan_megabytes", scan_speed.MOST_MEMORY)), _scan),
    Group("start-up", (("help_seconds", 0.3), ("status_seconds", 0.6)), start_up.measure),
    Group("scale", (("controller_megabytes", 150), ("list_p95_ms", 100)), scale.measure),
    Group("docker-gap", (("docker_swap_gap_seconds", 1.0),), partial(swaps.measure_gap, **IN_CONTAINERS), "docker"),
    Group(
        "docker-refused",
        (("docker_refused_good", 0), ("docker_refused_bad", 0)),
        partial(swaps.measure_refused, **IN_CONTAINERS),
        "docker",
    ),
    Group(
        "docker-exits",
        (("docker_exit_seen_seconds", 1.0), ("docker_exit_serving_again_seconds", 3.0)),
        partial(swaps.measure_exits, **IN_CONTAINERS),
        "docker",
    ),
    Group(
        "docker-trials",
        (("docker_trial_ratio_one", docker_trials.LIMIT), ("docker_trial_ratio_two", docker_trials.LIMIT)),
        docker_trials.measure_ratio,
        "docker",
    ),
    Group("docker-left", (("docker_left", 0),), docker_trials.measure_left, "docker"),
)


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description="Measures what MOSS must reach.")
    known = [name for group in GROUPS for name in (group.name, *(figure for figure, _ in group.figures))]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help="a smoke test of the benchmarks: little is measured")
    given = parser.parse_args(words)
    if unknown := set(given.names) - set(known):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends on the way out
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    rows, required = list[Row](), os.environ.get("MOSS_REQUIRE", "").replace(",", " ").split()
    for group in GROUPS:
        if (because := group.skipped(given.names, required)) is not None:
            print(f"{group.name}: skipped: {because}")
        elif group.asked(given.names):
            began = time.monotonic()
            found = group.rows(given.quick)
            rows += [row for row in found if not given.names or {group.name, row.name} & set(given.names)]
            print(f"{group.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(table(rows))
    print(document(rows))
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
