"""The layers of CONTRIBUTING.md hold, and the contracts that say so are able to see a breach."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def linted(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).with_name("lint-imports")
    env = {**os.environ, "PYTHONPATH": str(folder)}
    argv = [str(program), "--no-cache", *words]
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_every_module_keeps_to_its_layer() -> None:
    ended = linted(ROOT)
    assert ended.returncode == 0, ended.stdout
    assert "0 broken" in ended.stdout


def test_a_domain_that_reaches_for_the_engine_is_seen(tmp_path: Path) -> None:
    """A copy of the contracts over a package in which one module breaks them."""
    for name in ("domain", "engine"):
        (tmp_path / "moss" / name).mkdir(parents=True)
        (tmp_path / "moss" / name / "__init__.py").touch()
    (tmp_path / "moss" / "__init__.py").touch()
    (tmp_path / "moss" / "domain" / "verdict.py").write_text("import moss.engine\n")
    (tmp_path / ".importlinter").write_text(
        "[importlinter]\nroot_package = moss\n[importlinter:contract:layers]\nname = layers\ntype = layers\n"
        "layers =\n    moss.engine\n    moss.domain\n"
    )
    ended = linted(tmp_path)
    assert ended.returncode == 1
    assert "moss.domain.verdict -> moss.engine" in ended.stdout
