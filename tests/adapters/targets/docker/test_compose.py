"""An agent of a Compose project: what its file has to say, and `docker compose up -d` changes nothing after a swap."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.adapters.targets.docker.compose import LIVE_TAG, Agreed, Composed, agreed, config_hash, refuse_unfit
from moss.adapters.targets.docker.running import look
from moss.errors import Refused
from moss.testing.live_docker import INSIDE, REPOSITORY, LiveDocker, docker, tiny_image

TAG = f"{REPOSITORY}:{LIVE_TAG}"
SERVICE = Composed("shop", "agent", ("/srv/compose.yaml", "/srv/more.yaml"), "/srv", "unix:///run/d.sock")


def test_the_project_is_asked_on_its_own_files_and_engine() -> None:
    assert SERVICE.argv("config", "--hash", "agent") == (
        "docker", "--host", "unix:///run/d.sock", "compose", "--project-name", "shop", "--project-directory", "/srv",
        "--file", "/srv/compose.yaml", "--file", "/srv/more.yaml", "config", "--hash", "agent",
    )  # fmt: skip


def test_a_container_without_composes_labels_is_no_service() -> None:
    assert Composed.of({"com.docker.compose.project": "shop"}) is None
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": "agent"}
    assert Composed.of(labels) == Composed("shop", "agent", (), "/")


def test_the_lines_to_change_are_said_as_they_must_be_written() -> None:
    told = {"image": "clerk:1.0", "ports": [{"target": 8080, "published": "80"}, {"target": 9000}]}
    with pytest.raises(Refused, match="docker compose up -d") as refused:
        refuse_unfit(SERVICE, told, "clerk:moss-live", 8080)
    assert refused.value.mend is not None
    assert "image: clerk:moss-live; no `ports:` for 8080" in refused.value.mend
    with pytest.raises(Refused) as refused:
        refuse_unfit(SERVICE, {**told, "image": "clerk:moss-live"}, "clerk:moss-live", 8080)
    assert refused.value.mend is not None
    assert "image:" not in refused.value.mend
    refuse_unfit(SERVICE, {"image": "clerk:moss-live", "ports": [{"target": 9000}]}, "clerk:moss-live", 8080)
    refuse_unfit(SERVICE, {**told, "image": "clerk:moss-live"}, "clerk:moss-live", None)


@given(st.dictionaries(st.sampled_from(["image", "build", "ports"]), st.none() | st.text() | st.just([])))
def test_any_service_fits_or_is_refused_with_the_tag(told: dict[str, object]) -> None:
    fits = told.get("image") == "clerk:moss-live"
    with nullcontext() if fits else pytest.raises(Refused, match="would undo a swap"):
        refuse_unfit(SERVICE, {**told, "ports": []}, "clerk:moss-live", 8080)


class Project:
    """One Compose project whose one service is the tiny agent."""

    def __init__(self, tiny: LiveDocker, folder: Path) -> None:
        self.tiny, self.file, self.name = tiny, folder / "compose.yaml", f"p{tiny.name}"
        self.tag = docker("image", "inspect", "-f", "{{index .RepoTags 0}}", tiny.old.digest)

    def write(self, image: str, ports: bool, mode: str = "one") -> None:
        service = {
            "image": image,
            "container_name": self.tiny.name,
            "environment": {"MODE": mode},
            "volumes": ["data:/data"],
            **({"ports": [f"127.0.0.1::{INSIDE}"]} if ports else {}),
        }
        self.file.write_text(
            json.dumps({"services": {"agent": service}, "volumes": {"data": {"name": self.tiny.volume}}})
        )

    def compose(self, *words: str) -> str:
        argv = ["docker", "compose", "-p", self.name, "-f", str(self.file), *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def moved(self) -> None:
        """By `moss adopt`, as far as the target goes."""
        running = look(self.tiny.target.engine, self.tiny.name)
        hash = agreed(running, INSIDE, os.environ).hash
        assert hash is not None
        self.tiny.target.adoption.adopt(running, self.tiny.target.current().image, hash)
        self.tiny.until_ready()

    def standing(self) -> tuple[object, list[str]]:
        """The live container's id, and all containers of the project."""
        rows = docker("ps", "-a", "-q", "--no-trunc", "--filter", f"label=com.docker.compose.project={self.name}")
        return self.tiny.inspect()["Id"], sorted(rows.split())


@pytest.fixture
def project(tiny: LiveDocker, tmp_path: Path) -> Iterator[Project]:
    made = Project(tiny, tmp_path)
    made.write(made.tag, ports=True)
    made.compose("up", "-d")
    tiny.until_ready()
    yield made
    tiny.close()
    made.compose("down", "-v")


@pytest.mark.needs("docker")
@pytest.mark.slow
@pytest.mark.xdist_group("docker")
def test_up_changes_nothing_after_the_move_a_swap_and_the_way_back(project: Project) -> None:
    tiny = project.tiny
    project.write(TAG, ports=False)
    project.moved()
    before = project.standing()
    assert before[1] == [before[0]]
    project.compose("up", "-d")
    assert project.standing() == before
    assert tiny.send("hello").wait().status == 200

    tiny.swapped(tiny_image("2"), "ev-01/swap")
    swapped = project.standing()
    assert swapped[0] != before[0]
    assert swapped[1] == [swapped[0]]
    project.compose("up", "-d")
    assert project.standing() == swapped

    tiny.swapped(tiny.old, "ev-01/undo")
    back = project.standing()
    project.compose("up", "-d")
    assert project.standing() == back
    assert tiny.kept() == ["hello"]


@pytest.mark.needs("docker")
@pytest.mark.slow
@pytest.mark.xdist_group("docker")
def test_a_file_that_would_undo_a_swap_is_refused_before_anything_is_touched(project: Project) -> None:
    running = look(project.tiny.target.engine, project.tiny.name)
    with pytest.raises(Refused) as refused:
        agreed(running, INSIDE, os.environ)
    assert f"image: {TAG}; no `ports:` for {INSIDE}" in str(refused.value.mend)
    assert project.tiny.inspect()["Id"] == running.told["Id"]


@pytest.mark.needs("docker")
@pytest.mark.slow
@pytest.mark.xdist_group("docker")
def test_the_move_is_taken_back_though_compose_deleted_the_old_container(project: Project) -> None:
    tiny, port = project.tiny, project.tiny.inspect()["NetworkSettings"]["Ports"]  # type: ignore[index]
    project.write(TAG, ports=False)
    project.moved()
    project.compose("up", "-d")
    assert tiny.target.adoption.undo() == tiny.name
    told = tiny.inspect()
    assert told["State"]["Running"]  # type: ignore[index]
    assert told["NetworkSettings"]["Ports"] == port  # type: ignore[index]
    assert told["Config"]["Labels"]["com.docker.compose.service"] == "agent"  # type: ignore[index]


@pytest.mark.needs("docker")
@pytest.mark.slow
@pytest.mark.xdist_group("docker")
def test_the_hash_is_the_one_that_compose_itself_gives_the_container(project: Project) -> None:
    running = look(project.tiny.target.engine, project.tiny.name)
    service = Composed.of(running.labels)
    assert service is not None
    assert config_hash(service, os.environ) == running.labels["com.docker.compose.config-hash"]


@pytest.mark.needs("docker")
@pytest.mark.slow
@pytest.mark.xdist_group("docker")
def test_a_project_whose_files_are_elsewhere_is_said_and_not_guessed(project: Project) -> None:
    running = look(project.tiny.target.engine, project.tiny.name)
    project.file.rename(project.file.with_name("away.yaml"))
    told = agreed(running, INSIDE, os.environ)
    project.file.with_name("away.yaml").rename(project.file)
    assert told.hash is None
    assert f"image: {TAG}" in told.notes[0]
    assert agreed(running, INSIDE, {"PATH": "/nowhere"}) == Agreed(
        None, (f"the program `docker` with `compose` does not work here; {told.notes[0].partition('; ')[2]}",)
    )
