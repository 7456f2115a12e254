"""How `moss serve` bears a store with 10,000 runs and 1,000,000 failures: its memory, and how long its lists take.

A hundred of the runs wait for consent and are looked at twice a second; scan, outbox and sweep run as always. Asked
are the lists of the HTTP API, a page each, from many places of them, and the list calls of the store, in a process of
its own. The store is made by `store_scale`.
"""

import http.client
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from examples.clerk.workshop import lay_out
from moss.api.doors import BASE
from moss.settings import load as load_settings
from moss.wiring import Wiring
from tests.benchmarks import store_scale
from tests.benchmarks.rows import Row
from tests.benchmarks.start_up import moss

RUNS, FAILURES = 10_000, 1_000_000
LISTS = {"runs": 9_000, "failures": 1_500, "batches": None}
"""of the API: up to which offset pages are asked for"""
SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Served:
    """A `moss serve` that answers at `port`."""

    pid: int
    port: int
    token: str

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status == 200, (path, answer.status, said[:500])
            return said
        finally:
            connection.close()

    @property
    def most_memory(self) -> int:
        """Bytes that it held at most so far."""
        return int(Path(f"/proc/{self.pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def measure(quick: bool) -> list[Row]:
    runs, failures, rounds = (300, 3_000, 5) if quick else (RUNS, FAILURES, 60)
    with home(runs, failures) as (toml, folder):
        with serving(toml, folder) as served:
            time.sleep(2 if quick else 10)  # what a start does once, and rounds of every loop
            listed = _listed(served, rounds)
            held = served.most_memory
        inside = store_scale.measure(folder, rounds)
    slowest = max({**listed, **inside.p95_ms}.items(), key=lambda one: one[1])
    what = f"{runs:,} runs and {failures:,} failures"
    beside = ", ".join(f"{name} {took:.0f} ms" for name, took in listed.items())
    return [
        Row("controller_megabytes", f"`moss serve` with {what}", round(held / 1e6, 1), 150, "MB"),
        Row(
            "list_p95_ms",
            f"the slowest list call, 95th percentile: {slowest[0]}",
            round(slowest[1], 1),
            100,
            "ms",
            beside=f"over HTTP: {beside}; in the store at most {inside.slowest_ms:.0f} ms",
        ),
    ]


def _listed(served: Served, rounds: int) -> dict[str, float]:
    """Milliseconds of each list, at the 95th percentile; asked in turn."""
    some = random.Random(1)
    took: dict[str, list[float]] = {f"/{name}": [] for name in LISTS}
    for _ in range(rounds):
        for name, most in LISTS.items():
            page = f"?limit=100&offset={some.randrange(most)}" if most else "?limit=100"
            began = time.perf_counter()
            served.get(f"{BASE}/{name}{page}")
            took[f"/{name}"].append((time.perf_counter() - began) * 1e3)
    return {name: sorted(found)[int(rounds * 0.95)] for name, found in took.items()}


@contextmanager
def home(runs: int, failures: int) -> Iterator[tuple[Path, Path]]:
    """moss.toml and home of a clerk whose store is full. Nothing of it runs. No batch seals: all would, at once."""
    with tempfile.TemporaryDirectory(prefix="moss-bench-") as folder:
        place = lay_out(
            Path(folder) / "shop", more=('group_by = "fingerprint" -> group_by = "fingerprint"\nseal_at = 1000000000',)
        )
        place.state.joinpath("sessions").mkdir(parents=True)
        store_scale.fill(place.root / ".moss", runs, failures)
        yield place.toml, place.root / ".moss"


@contextmanager
def serving(toml: Path, folder: Path) -> Iterator[Served]:
    """`moss serve` of that home, and a viewer's token."""
    words = (*moss(), "--config", str(toml), "--home", str(folder))
    made = subprocess.run(
        (*words, "--json", "token", "new", "bench", "--role", "viewer"), check=True, capture_output=True
    )
    port = load_settings(toml, dict(os.environ)).api.port
    log = (folder.parent / "serve.log").open("wb")
    process = subprocess.Popen((*words, "serve"), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    served = Served(process.pid, port, json.loads(made.stdout)["token"])
    try:
        _until_up(served, process)
        yield served
    finally:
        process.terminate()
        process.wait(30)
        log.close()
        subprocess.run((*words, "down", "--yes"), check=True, capture_output=True)
        # A supervisor that was asked whether an agent runs is there although none ever was.
        settings = load_settings(toml, {"MOSS_HOME": str(folder)})
        Wiring(settings, dict(os.environ)).process_target.shut_down()


def _until_up(served: Served, process: "subprocess.Popen[bytes]") -> None:
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        assert process.poll() is None, f"moss serve ended with {process.returncode}"
        try:
            served.get("/healthz")
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("moss serve does not answer")
