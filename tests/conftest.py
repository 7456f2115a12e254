"""Owns what a machine may lack: tests marked `needs(thing)` are skipped where it is not there, with the way to get it.

Where MOSS_REQUIRE names the thing (`MOSS_REQUIRE=docker`), the skip is a failure.
"""

import os
from collections.abc import Callable
from functools import cache

import pytest


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


PRESENT: dict[str, Callable[[], str | None]] = {"docker": docker}


@cache
def missing(thing: str) -> str | None:
    return PRESENT[thing]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = os.environ.get("MOSS_REQUIRE", "").replace(",", " ").split()
    for mark in item.iter_markers("needs"):
        if because := missing(mark.args[0]):
            words = f"needs {mark.args[0]}: {because}"
            pytest.fail(words, pytrace=False) if mark.args[0] in required else pytest.skip(words)
