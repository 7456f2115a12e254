"""Owns what a machine may lack, and what a fast test may cost.

Tests marked `needs(thing)` are skipped where the thing is not there, with the way to get it; where MOSS_REQUIRE names
it (`MOSS_REQUIRE=docker`), the skip is a failure. With `--bound-cpu` (`make quick`) a test that is not marked as slow
and took too much processor time fails: that tells of the test, hardly of what else the machine does.

Hypothesis sets no time for an example, since a machine may be busy; where `CI` is set it draws the same ones each time.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.own_engine import dockerd

settings.register_profile(
    "moss", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ, print_blob=True
)
settings.load_profile("moss")

CPU_SECONDS = 2.0
"""of a test and the processes that it waited for"""


def docker() -> str | None:
    """None when a Docker Engine answers and has the base images; else what is missing and how to get it."""
    from moss.dockerd import Engine, Gone
    from moss.errors import BoxRefused, MossError

    engine = Engine(None, BoxRefused)
    try:
        with engine.saying("the engine cannot be asked"):
            engine.api.inspect_image("python:3.11-slim")
            engine.api.close()
    except MossError as error:
        return str(error)
    except Gone:
        return "the image python:3.11-slim is not on the engine (get it: scripts/images)"
    return None


def own_engine(variable: str, version: str = "") -> Callable[[], str | None]:
    """Whether tests can start an engine of their own."""
    return lambda: None if isinstance(found := dockerd(variable, version), Path) else found


def index() -> str | None:
    """None when pip reaches a package index that has what building MOSS needs."""
    asked = ["install", "-q", "--dry-run", "--ignore-installed", "--no-deps", "--retries", "1", "setuptools>=69"]
    said = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *asked], capture_output=True, check=False
    )
    return "pip reaches no package index (get it: a network, or pip's index-url)" if said.returncode else None


PRESENT: dict[str, Callable[[], str | None]] = {
    "docker": docker,
    "index": index,
    "own-engine": own_engine("MOSS_TEST_DOCKERD"),
    "docker-20.10": own_engine("MOSS_TEST_DOCKERD_20_10", "20.10"),
}


@cache
def missing(thing: str) -> str | None:
    return PRESENT[thing]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests with containers are one group, for one worker: they time an engine that they share."""
    for item in items:
        needed = [thing for mark in item.iter_markers("needs") for thing in mark.args]
        if {"docker", "own-engine", "docker-20.10"}.intersection(needed) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("docker"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = os.environ.get("MOSS_REQUIRE", "").replace(",", " ").split()
    for mark in item.iter_markers("needs"):
        for thing in mark.args:
            if because := missing(thing):
                words = f"needs {thing}: {because}"
                pytest.fail(words, pytrace=False) if thing in required else pytest.skip(words)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bound-cpu", action="store_true", help="fail fast tests that take too much processor time")


def cpu_seconds() -> float:
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    began = cpu_seconds()
    result = yield
    marked = any(item.get_closest_marker(name) for name in ("slow", "e2e"))
    if item.config.getoption("--bound-cpu") and not marked and (took := cpu_seconds() - began) > CPU_SECONDS:
        pytest.fail(
            f"took {took:.1f} s of CPU, over {CPU_SECONDS:g}: make it cheaper, or mark it as slow", pytrace=False
        )
    return result
