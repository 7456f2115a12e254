"""`moss init` beside an agent that runs in a container: which one it is, and a moss.toml that names it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from moss.cli.guess_container import containers_of
from moss.config import DockerBoxes, DockerBuild, DockerLive
from moss.settings import load
from moss.testing.live_docker import LiveDocker, sweep
from tests.cli.conftest import Moss

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[LiveDocker]:
    made = LiveDocker(tmp_path / "bench")
    try:
        yield made
    finally:
        made.close()
        sweep()


@pytest.fixture
def source(tmp_path: Path, tiny: LiveDocker, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that has the container's name."""
    folder = tmp_path / tiny.name
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM python:3.11-slim\n")
    monkeypatch.chdir(folder)
    return folder


def test_the_container_of_the_folders_name_is_found_with_its_port_and_volume(
    moss: Moss, tiny: LiveDocker, source: Path
) -> None:
    tiny.run()
    said = moss("init")
    assert said.code == 0, said.err
    assert f"Found container `{tiny.name}` (volume {tiny.volume}, port 8080) of image" in said.out
    settings = load(source / "moss.toml", {})
    assert isinstance(settings.live, DockerLive)
    live = settings.live
    assert (live.container, live.port, str(live.state)) == (tiny.name, 8080, "/data")
    assert isinstance(settings.build, DockerBuild)
    assert isinstance(settings.boxes, DockerBoxes)


def test_one_that_is_named_is_taken_and_a_wrong_name_is_told_with_the_nearest(
    moss: Moss, tiny: LiveDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    tiny.run()
    said = moss("init", "--container", f"{tiny.name}s")
    assert said.code == 2
    assert f"did you mean `{tiny.name}`?" in said.err
    assert not (folder / "moss.toml").exists()
    said = moss("init", "--container", tiny.name)
    assert said.code == 0, said.err
    assert "look at: build.dockerfile: there is no Dockerfile in the folder" in said.out
    assert 'kind = "docker"' in (folder / "moss.toml").read_text()


def test_a_container_without_a_name_in_common_is_left_alone(tiny: LiveDocker, tmp_path: Path) -> None:
    tiny.run()
    assert containers_of(tmp_path, "another-agent") == []


def test_without_an_engine_there_is_no_container(tmp_path: Path) -> None:
    assert containers_of(tmp_path, "agent", engine="unix:///nowhere.sock") == []


def test_mosss_own_containers_are_no_agents(tiny: LiveDocker, tmp_path: Path) -> None:
    tiny.up()
    front = next(name for name in tiny.containers() if name.endswith("-front"))
    assert containers_of(tmp_path, front) == []
