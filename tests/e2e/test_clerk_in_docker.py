"""The clerk as an image and a trial of it in a container: built, smoked, healthy, and a whole turn over the gateway."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moss import config
from moss.adapters.boxes.docker import DockerBoxes
from moss.adapters.builders.docker import DockerBuilder
from moss.adapters.source.git import GitSource
from moss.adapters.turns.openai import OpenAiDriver
from moss.config import DockerBuild, HealthSettings, OpenAiTurn, Upstream
from moss.domain.ids import CommitId, Key, RunId
from moss.files import copy_tree
from moss.gateway.config import GatewayConfig
from moss.ports import BoxRole, BoxSpec, GatewayMode, Grant, Image, Mount, MountName, Place, Readiness
from moss.testing.serving import gateway_thread
from tests.docker_home import DockerHome

pytestmark = [pytest.mark.needs("docker"), pytest.mark.e2e, pytest.mark.xdist_group("docker")]

CLERK = Path(__file__).parents[2] / "examples" / "clerk"
COMMIT = CommitId("2" * 40)
RUN = RunId("ev-01")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHome]:
    home = DockerHome(tmp_path_factory.mktemp("home"))
    yield home
    home.clean()


@pytest.fixture(scope="module")
def boxes(home: DockerHome) -> DockerBoxes:
    return DockerBoxes(home.path, config.DockerBoxes(), 8790)


@pytest.fixture(scope="module")
def image(home: DockerHome, boxes: DockerBoxes, tmp_path_factory: pytest.TempPathFactory) -> Image:
    tree = tmp_path_factory.mktemp("clerk") / "tree"
    copy_tree(CLERK, tree)
    smoke = ("python3", "-c", "import clerk.__main__")
    builder = DockerBuilder(home.path, DockerBuild(smoke=smoke), boxes)
    return builder.build(tree, COMMIT, "clerk:2222222", Key("ev-01/1/build"), tree.parent / "log")


def test_its_own_tests_pass_in_a_box_of_its_image(boxes: DockerBoxes, image: Image) -> None:
    argv = ("python3", "-B", "-m", "unittest", "discover", "-s", "{image}/tests", "-t", "{image}")
    box = boxes.launch(BoxSpec(Key("ev-01/check"), RUN, BoxRole.CHECK, argv, image=image, workdir="{image}"))
    end = boxes.wait(box, 120)
    said = boxes.errors(box)
    boxes.remove(box.key)
    assert end is not None
    assert (end.code, b"OK" in said) == (0, True), said


def test_a_turn_goes_in_and_the_model_is_asked_on_the_way_out(
    boxes: DockerBoxes, image: Image, home: DockerHome, tmp_path: Path
) -> None:
    script = home.path / "model.json"
    script.write_text(json.dumps({"version": 1, "rules": [{"text": "how may I help?"}]}))
    told = GatewayConfig(artifacts=home.path / "artifacts", upstreams=(Upstream(name="main", script=script),))
    driver = OpenAiDriver(OpenAiTurn(model="clerk"), None, HealthSettings())
    with gateway_thread(home.path, told, redact=bytes, environ={}) as control:
        token = control.open(Grant(Key("ev-01/g"), RUN, "trial", GatewayMode.LIVE, ("main",)))
        box = boxes.launch(
            BoxSpec(
                Key("ev-01/trial"),
                RUN,
                BoxRole.TRIAL,
                ("python3", "-m", "clerk", "--port", "{port}", "--state", "{state}"),
                image=image,
                env={"CLERK_MODEL_URL": "http://127.0.0.1:8790/v1", "CLERK_MODEL_KEY": token, "CLERK_OUTWARD": "off"},
                mounts=(Mount(MountName.STATE, tmp_path, writable=True),),
                workdir="{image}",
                port=True,
            )
        )
        place, seen, ends = Place(*boxes.address(box)), [Readiness.STARTING], time.monotonic() + 60
        while (look := driver.health(place)).readiness is not Readiness.READY:
            assert look.readiness is Readiness.STARTING, (look, boxes.errors(box))
            assert time.monotonic() < ends, boxes.errors(box)
            seen.append(look.readiness)
        answer = driver.send(place, "s-1", "hello", 30)
        usage = control.usage(Key("ev-01/g"))
    boxes.stop(box, 10)
    end = boxes.wait(box, 10)
    boxes.remove(box.key)
    assert (answer.error, answer.text) == (None, "how may I help?")
    assert usage.requests == 1
    assert end is not None
    assert end.code == 0, "it ended in good order on SIGTERM"
    assert list((tmp_path / "sessions").glob("*.jsonl")), "its state is a folder of this host"


def test_a_tree_that_a_box_of_another_user_worked_in_is_diffed(boxes: DockerBoxes, tmp_path: Path) -> None:
    """A controller that is root gives the tree to the box's user; git must not mind whose it is."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.py").write_text("x = 1\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "1"]):
        subprocess.run(["git", "-C", source, *words], check=True)
    git = GitSource(tmp_path / "home", source, "clerk")
    commit, tree = git.resolve("HEAD"), tmp_path / "tree"
    git.export(commit, tree)
    argv = ("python3", "-c", "open('a.py', 'w').write('x = 2\\n')")
    box = boxes.launch(
        BoxSpec(Key("ev-01/coder"), RUN, BoxRole.CODER, argv, mounts=(Mount(MountName.WORK, tree, writable=True),))
    )
    end = boxes.wait(box, 60)
    boxes.remove(box.key)
    assert end is not None
    assert end.code == 0
    patch = git.diff(commit, tree)
    assert b"+x = 2" in patch.text
    assert git.commit(patch, "two", Key("ev-01/1/implement/1")) != commit
