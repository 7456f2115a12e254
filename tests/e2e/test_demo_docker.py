"""The demo in containers as a person runs it: killed at any moment it goes on, ends as it should, and goes whole."""

import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from .scene import HERE, left_of, wait_until
from .tellings import killed_at_random, start, told_to_its_end

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("docker")]
DEMO = "examples.clerk.demo_docker"
KILLS = 2
ROOT = HERE.parents[1]


def run(folder: Path, *words: str, **env: str) -> "subprocess.Popen[str]":
    return start(DEMO, folder, *words, env=env)


def docker(*words: str) -> list[str]:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.split()


def tag_of(folder: Path) -> str:
    """What the engine knows the demo's home by."""
    file = folder / ".moss" / "boxes" / ".tag"
    return file.read_text() if file.exists() else "none"


def on_engine(folder: Path, tag: str) -> list[str]:
    """What the engine has of a demo: containers, images, volumes, networks."""
    home = f"label=moss.dev/home={tag}"
    return [
        *docker("container", "ls", "-aq", "--filter", home),
        *docker("container", "ls", "-aq", "--filter", f"label=moss.dev/demo={folder.resolve()}"),
        *docker("image", "ls", "-q", "--filter", home),
        *docker("network", "ls", "-q", "--filter", home),
        *docker("volume", "ls", "-q", "--filter", f"name=clerk-{folder.name}-state"),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / uuid.uuid4().hex[:8]
    yield folder
    tag = tag_of(folder)
    with run(folder, "--down") as down:
        assert down.wait(120) == 0, down.communicate()
    wait_until(lambda: not left_of(tmp_path), 10)
    assert not folder.exists()
    assert on_engine(folder, tag) == []


@pytest.mark.needs("docker")
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_in_containers_it_goes_on_and_ends_the_same(folder: Path) -> None:
    with run(folder) as demo:
        assert demo.stdout is not None
        assert any("evidence" in line for line in demo.stdout)
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=60)
    assert (demo.returncode, "`make demo-docker` goes on from here" in said) == (130, True)
    killed_at_random(DEMO, folder, KILLS, within=40)
    shown = told_to_its_end(DEMO, folder, 800)
    for word in ("in containers", "consent", "matrix", "CONVERGED", "rollback", "restored, the old version serves"):
        assert word in shown
    was = docker("container", "inspect", "-f", "{{.Image}}", f"clerk-{folder.name}")
    moss = [sys.executable, "-m", "moss.cli", "--home", str(folder), "rollback", "--because", "a test"]
    done = subprocess.run(moss, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert docker("container", "inspect", "-f", "{{.Image}}", f"clerk-{folder.name}") != was, "the one before serves"


@pytest.mark.needs("docker")
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_while_the_clerk_is_adopted_it_goes_on(folder: Path) -> None:
    """The move itself: each kill leaves the old clerk, or a move that goes on."""
    killed_at_random(DEMO, folder, 4, within=8)
    with run(folder) as demo:
        assert demo.stdout is not None
        assert any("23 turns served" in line for line in demo.stdout), "the clerk serves under MOSS"
        demo.kill()


def test_without_a_docker_client_it_says_so_and_changes_nothing(tmp_path: Path) -> None:
    with run(tmp_path / "demo", PATH=str(tmp_path)) as demo:
        shown, said = demo.communicate(timeout=60)
    assert (demo.returncode, shown) == (1, "")
    assert said.startswith("moss: there is no `docker` client on this machine\n      mend: docs/docker.md")
    assert not (tmp_path / "demo").exists()
    assert not (tmp_path / "demo-keys").exists()
