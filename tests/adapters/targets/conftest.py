"""A live target of real processes on free ports, ended with the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from moss.testing.live_process import LiveProcess


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveProcess]:
    """Version "1" serves."""
    made = LiveProcess(tmp_path)
    try:
        made.up()
        yield made
    finally:
        made.close()
