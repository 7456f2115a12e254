"""Owns what a machine may lack: tests marked `needs(thing)` are skipped where it is not there, with the way to get it.

Where MOSS_REQUIRE names the thing (`MOSS_REQUIRE=docker`), the skip is a failure.
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.own_engine import dockerd


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


PRESENT: dict[str, Callable[[], str | None]] = {
    "docker": docker,
    "own-engine": own_engine("MOSS_TEST_DOCKERD"),
    "docker-20.10": own_engine("MOSS_TEST_DOCKERD_20_10", "20.10"),
}


@cache
def missing(thing: str) -> str | None:
    return PRESENT[thing]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = os.environ.get("MOSS_REQUIRE", "").replace(",", " ").split()
    for mark in item.iter_markers("needs"):
        for thing in mark.args:
            if because := missing(thing):
                words = f"needs {thing}: {because}"
                pytest.fail(words, pytrace=False) if thing in required else pytest.skip(words)
