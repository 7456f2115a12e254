"""A bench for each test of the engine."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from moss.testing.workbench import Workbench, workbench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    """Three cases, three guards. Its log is left out: a traceback takes longer to print than a run."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield workbench(tmp_path / "bench")
    structlog.reset_defaults()
