"""The benchmarks run, small; their JSON has every figure; counts hold. How fast anything is, no test says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import GROUPS, Group
from tests.benchmarks.rows import Row, document, table
from tests.conftest import PRESENT, missing

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.xdist_group("docker")
@pytest.mark.timeout(900)
def test_the_quick_benchmarks_run_and_their_last_line_has_every_figure() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick"], cwd=ROOT, capture_output=True, text=True, timeout=860
    )
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    there = [group for group in GROUPS if group.needs is None or missing(group.needs) is None]
    assert list(found) == [figure for group in there for figure, _ in group.figures]
    assert all(f"{group.name}: skipped: " in done.stdout for group in GROUPS if group not in there)
    unmeasured = {name for name, row in found.items() if row["value"] is None}
    assert not unmeasured, done.stdout
    assert all(set(row) == {"value", "limit", "ok"} for row in found.values())
    counts = {name: row["value"] for name, row in found.items() if "refused" in name or name == "docker_left"}
    assert set(counts.values()) == {0}, done.stdout
    assert found["scan_megabytes"]["ok"], done.stdout
    assert (done.returncode == 0) is all(row["ok"] for row in found.values())


@pytest.mark.slow
def test_an_unknown_name_is_wrong_use() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "nonsense"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "nonsense" in done.stderr


def test_a_limit_holds_up_to_itself_and_from_itself_on() -> None:
    assert [Row("a", "", value, 1.0, "s").ok for value in (0.9, 1.0, 1.1)] == [True, True, False]
    assert [Row("a", "", value, 8.0, "x", least=True).ok for value in (7.9, 8.0, 8.1)] == [False, True, True]
    assert not Row("a", "", None, 1.0, "s").ok


def test_what_could_not_be_measured_is_missed_and_says_why() -> None:
    def broken(quick: bool) -> list[Row]:
        raise ValueError("the disk is away")

    rows = Group("g", (("one", 1.0), ("two", 2.0)), broken).rows(quick=True)
    assert [(row.name, row.value, row.ok) for row in rows] == [("one", None, False), ("two", None, False)]
    assert "the disk is away" in table(rows)
    assert json.loads(document(rows))["two"] == {"value": None, "limit": 2.0, "ok": False}


def test_a_group_whose_thing_is_missing_is_skipped_with_the_reason_unless_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PRESENT, "moon", lambda: "it is day (get it: wait)")
    group = Group("g", (("one", 1.0),), lambda quick: [], needs="moon")
    assert group.skipped((), ()) == "it is day (get it: wait)"
    assert group.skipped(("another",), ()) == "it is day (get it: wait)"
    assert group.skipped(("one",), ()) is None, "asked for by name: then it is missed"
    assert group.skipped((), ("moon",)) is None, "required"
    assert Group("g", (), lambda quick: []).skipped((), ()) is None
