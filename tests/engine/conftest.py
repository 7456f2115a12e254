"""A bench for each test of the engine."""

from pathlib import Path

import pytest

from moss.testing.workbench import Workbench, workbench


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return workbench(tmp_path / "bench")
