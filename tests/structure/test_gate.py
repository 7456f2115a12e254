"""The gate and the quick round, run with programs that stand in for those they call."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTE = 'echo "$(basename "$0") $* require=${MOSS_REQUIRE:-}" >>"$NOTES"\n'
STARTER = re.search(r'^engine=\$\(dirname "\$PWD"\)/(\S+)$', (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


class Checkout:
    """A copy of the two scripts, with stand-ins around. `notes`: who was called, and what MOSS_REQUIRE was then."""

    def __init__(self, root: Path) -> None:
        self.root, self.main, self.bin, self.log = root, root / "main", root / "bin", root / "notes"
        for script in (".ci/run", "scripts/quick"):
            (self.main / script).parent.mkdir(parents=True)
            shutil.copy(ROOT / script, self.main / script)
        self.bin.mkdir()
        self.stand_in(self.bin / "make")
        self.stand_in(self.main / "scripts" / "images")
        self.stand_in(self.bin / "docker", 1)

    def stand_in(self, place: Path, code: int = 0, says: str = "") -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"#!/bin/sh\n{NOTE}echo '{says}'\nexit {code}\n")
        place.chmod(0o755)

    def run(self, *words: str, engine: bool = False) -> "subprocess.CompletedProcess[str]":
        env = {"PATH": f"{self.bin}:{os.environ['PATH']}", "NOTES": str(self.log)}
        env |= {"MOSS_CI_ENGINE": "1"} if engine else {}
        return subprocess.run(words, cwd=self.main, env=env, capture_output=True, text=True, timeout=60, check=False)

    def notes(self, name: str) -> list[str]:
        return [line.removeprefix(name).strip() for line in self.log.read_text().splitlines() if line.startswith(name)]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_without_an_engine_the_gate_says_what_it_skips_and_where_the_time_went(checkout: Checkout) -> None:
    ran = checkout.run(".ci/run")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "MOSS_CI_ENGINE is not set" in ran.stdout
    assert [word.split()[0] for word in checkout.notes("make")] == ["setup", "lint", "demo", "demo-down", "test"]
    assert checkout.notes("make")[-1] == "test WORKERS=auto require=index"
    table = ran.stdout.split("where the time went")[1]
    assert re.findall(r"^ +\d+ s  (.+)$", table, re.MULTILINE) == [
        "machine", "setup", "lint", "demo", "engine", "test", "all",
    ]  # fmt: skip


@pytest.mark.parametrize("started", [True, False])
def test_with_an_engine_what_needs_one_must_pass(checkout: Checkout, started: bool) -> None:
    assert STARTER is not None
    if started:
        checkout.stand_in(checkout.root / STARTER[1])
    checkout.stand_in(checkout.bin / "docker")
    ran = checkout.run(".ci/run", engine=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert checkout.notes("images") == ["require="]
    assert len(checkout.notes("up")) == int(started)
    assert "demo-docker require=docker,index" in checkout.notes("make")
    assert checkout.notes("make")[-1] == f"test WORKERS={(os.cpu_count() or 1) + 1} require=docker,index"


def test_an_engine_that_does_not_start_fails_the_gate_with_its_log(checkout: Checkout) -> None:
    assert STARTER is not None
    checkout.stand_in(checkout.root / STARTER[1], 1, "debootstrap failed")
    ran = checkout.run(".ci/run", engine=True)
    assert ran.returncode == 1
    assert "debootstrap failed" in ran.stdout
    assert "engine: failed" in ran.stdout
    assert "test" not in [word.split()[0] for word in checkout.notes("make")]


def test_a_step_that_fails_ends_the_gate_with_its_name(checkout: Checkout) -> None:
    checkout.stand_in(checkout.bin / "make", 2)
    ran = checkout.run(".ci/run")
    assert ran.returncode == 2
    assert re.search(r"^ +\d+ s  setup: failed$", ran.stdout, re.MULTILINE)


@pytest.mark.parametrize(("limit", "says"), [(90, "the limit is 90 s"), (-1, "too slow")])
def test_the_quick_round_says_what_it_took_and_fails_above_its_limit_when_the_machine_was_idle(
    checkout: Checkout, limit: int, says: str
) -> None:
    checkout.stand_in(checkout.main / "scripts" / "lint")
    checkout.stand_in(checkout.bin / "pytest")
    # this machine may be busy: one that did nothing else is told by a clock of the machine that stands
    checkout.stand_in(checkout.bin / "getconf", says="1000000000")
    ran = checkout.run("scripts/quick", str(checkout.bin), str(limit))
    assert says in ran.stdout + ran.stderr
    assert ran.returncode == (1 if limit < 0 else 0)
    assert "--bound-cpu" in checkout.notes("pytest")[0]
