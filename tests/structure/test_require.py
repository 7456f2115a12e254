"""What is skipped says what is missing and how to get it; `MOSS_REQUIRE` turns such a skip into a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = """
import tests.conftest as real
from tests.conftest import pytest_runtest_setup as pytest_runtest_setup
real.PRESENT["docker"] = lambda: "no engine answers (get it: install Docker)"
"""
TEST = """
import pytest

@pytest.mark.needs("docker")
def test_in_a_container():
    raise AssertionError("it ran without an engine")

def test_everywhere():
    assert True
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("required", "code", "last"),
    [
        ("", 0, "1 passed, 1 skipped"),
        ("kubernetes", 0, "1 passed, 1 skipped"),
        ("docker,kubernetes", 1, "1 passed, 1 error"),
    ],
)
def test_a_skip_names_what_is_missing_and_is_a_failure_where_it_is_required(
    tmp_path: Path, required: str, code: int, last: str
) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_needs.py").write_text(TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = needs: needs something\n")
    env = {**os.environ, "MOSS_REQUIRE": required, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "pytest", "-q", "-rsE", "-p", "no:cacheprovider", str(tmp_path)]
    said = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert said.returncode == code, said.stdout + said.stderr
    assert "needs docker: no engine answers (get it: install Docker)" in said.stdout
    assert said.stdout.splitlines()[-1].startswith(last)


GROUPED = """
from tests.conftest import pytest_collection_modifyitems

def pytest_collection_finish(session):
    print([[item.name, [mark.args[0] for mark in item.iter_markers("xdist_group")]] for item in session.items])
"""


@pytest.mark.slow
def test_tests_with_containers_are_one_group_for_one_worker(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(GROUPED)
    (tmp_path / "test_needs.py").write_text(TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = needs: needs something\n")
    words = [sys.executable, "-m", "pytest", "-q", "-s", "--collect-only", "-p", "no:cacheprovider", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert "[['test_in_a_container', ['docker']], ['test_everywhere', []]]" in said.stdout, said.stdout + said.stderr


BOUNDED = """
import tests.conftest as real
from tests.conftest import pytest_addoption, pytest_runtest_call
real.CPU_SECONDS = 0.1
"""
BUSY = """
import time
import pytest

def busy():
    began = time.process_time()
    while time.process_time() < began + 0.15:
        pass

def test_busy():
    busy()

@pytest.mark.slow
def test_busy_and_marked():
    busy()

def test_waits():
    time.sleep(0.15)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("option", "last"), [([], "3 passed"), (["--bound-cpu"], "1 failed, 2 passed")])
def test_a_fast_test_is_bound_in_processor_time_not_in_what_it_waits(
    tmp_path: Path, option: list[str], last: str
) -> None:
    (tmp_path / "conftest.py").write_text(BOUNDED)
    (tmp_path / "test_busy.py").write_text(BUSY)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: slow\n")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *option, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert said.stdout.splitlines()[-1].startswith(last), said.stdout + said.stderr
    assert ("over 0.1: make it cheaper, or mark it as slow" in said.stdout) == bool(option)
