"""The commands of the quickstart with Docker, typed into a shell in the order in which they stand there."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from moss.settings import load
from moss.wiring import Wiring
from tests.docs.pages import ROOT, console
from tests.docs.shell import Shell, env_of

pytestmark = [
    pytest.mark.needs("docker"),
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("docker"),
]
NAME = "clerk-shop"


def docker(*words: str) -> list[str]:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    return done.stdout.split()


@pytest.fixture
def person() -> Iterator[Path]:
    """A home of somebody who has nothing yet. Whatever was started from it is gone afterwards, from the engine, too."""
    home = Path(tempfile.mkdtemp(prefix="moss-docs-"))
    try:
        yield home
    finally:
        shop = home / "moss-docker"
        if (shop / "moss.toml").exists():
            wiring = Wiring(load(shop / "moss.toml", {}), dict(os.environ))
            wiring.stop_gateway()
        end_on_engine(shop)
        shutil.rmtree(home, ignore_errors=True)


def end_on_engine(shop: Path) -> None:
    tag = shop / ".moss" / "boxes" / ".tag"
    ours = f"label=moss.dev/home={tag.read_text()}" if tag.exists() else "label=moss.dev/home=none"
    named = docker("container", "ls", "-aq", "--filter", f"name=^{NAME}")
    for one in {*named, *docker("container", "ls", "-aq", "--filter", ours)}:
        docker("container", "rm", "-f", "-v", one)
    for one in docker("network", "ls", "-q", "--filter", ours):
        docker("network", "rm", one)
    for one in {f"{NAME}:1.0", *docker("image", "ls", "-q", "--no-trunc", "--filter", ours)}:
        docker("image", "rm", "-f", one)
    docker("volume", "rm", f"{NAME}-state")


def test_the_quickstart_with_docker_does_what_it_shows(person: Path) -> None:
    with Shell(ROOT, env_of(person)) as shell:
        for shown in console(ROOT / "docs" / "quickstart-docker.md"):
            shell.run(shown)
    beside = docker("container", "ls", "--format", "{{.Names}}", "--filter", "name=-front$", "--filter", "name=-door$")
    tag = (person / "moss-docker" / ".moss" / "boxes" / ".tag").read_text()
    assert not [name for name in beside if tag in name], "after the undo nothing of MOSS stands beside the agent"
