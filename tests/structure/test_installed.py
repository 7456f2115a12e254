"""What a user gets who installs MOSS from its wheel: all that it reads beside its code is there, and it works."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READS = """
from pathlib import Path
import moss
from moss.api.page import HERE, Pages
from moss.prompts import RESULTS, load
assert Path(moss.__file__).is_relative_to(Path("venv").resolve()), moss.__file__
for stage in (*RESULTS, "correction"):
    assert load(stage).text
for page in (HERE / "templates").iterdir():
    Pages(None)._templates.get_template(page.name)
"""

pytestmark = [pytest.mark.needs("index"), pytest.mark.slow, pytest.mark.xdist_group("installed")]


def ran(*words: str | Path, cwd: Path) -> str:
    """What a program printed that went well. It knows nothing of this checkout."""
    ours = ("PYTHON", "MOSS_", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=kept, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel in `dist` and a fresh environment in `venv` where it is installed, with the locked versions
    of what it needs."""
    root = tmp_path_factory.mktemp("installed")
    source = root / "source"
    shutil.copytree(ROOT / "moss", source / "moss", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    ran(sys.executable, "-m", "venv", root / "venv", cwd=root)
    pip = (root / "venv" / "bin" / "pip", "--disable-pip-version-check", "-q")
    ran(*pip, "wheel", "--no-deps", "-w", "dist", "./source", cwd=root)
    locked = re.findall(r"^([\w.-]+==[^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert len(locked) > 20
    (root / "locked").write_text("\n".join(locked))
    (wheel,) = (root / "dist").glob("*.whl")
    ran(*pip, "install", "--no-compile", "-c", "locked", wheel, cwd=root)
    return root


def test_the_wheel_has_every_file_of_the_package(place: Path) -> None:
    (wheel,) = (place / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("moss/")}
    source = place / "source"
    assert packed == {str(path.relative_to(source)) for path in (source / "moss").rglob("*") if path.is_file()}


def test_moss_as_installed_writes_its_settings_and_opens_a_store(place: Path) -> None:
    moss = place / "venv" / "bin" / "moss"
    assert "Lets a production agent repair itself" in ran(moss, "--help", cwd=place)
    (place / "desk" / "agent").mkdir(parents=True)
    (place / "desk" / "agent" / "__main__.py").touch()
    assert "Wrote moss.toml" in ran(moss, "init", cwd=place / "desk")
    assert "no runs yet" in ran(moss, "status", cwd=place / "desk")
    assert (place / "desk" / ".moss" / "store.db").stat().st_size > 0


def test_prompts_and_pages_are_read_from_where_it_is_installed(place: Path) -> None:
    python = place / "venv" / "bin" / "python"
    ran(python, "-c", READS, cwd=place)
