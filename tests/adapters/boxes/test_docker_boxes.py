"""Container boxes on a real engine: the way to the gateway, lost boxes, killed launches, slots, self-test, refusals."""

import json
import shutil
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from moss import config
from moss.adapters.boxes.docker import DockerBoxes
from moss.config import Upstream
from moss.domain.frozen import sha256
from moss.domain.ids import Digest, Key, RunId
from moss.errors import BoxLost, BoxRefused, NoSpace
from moss.gateway.config import GatewayConfig
from moss.ports import Box, BoxExit, BoxRole, BoxSpec, ExitReason, GatewayMode, Grant, Image, Limits, Mount, MountName
from moss.testing.serving import gateway_thread
from tests.docker_home import DockerHome

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]

RUN = RunId("ev-01")
SECONDS = 60.0
SLEEP = "import time; print('up', flush=True); time.sleep(600)"


def spec(program: str, *words: str, **more: object) -> BoxSpec:
    argv = ("python3", "-c", program, *words)
    return BoxSpec(Key(f"ev-01/{uuid.uuid4().hex}"), RUN, BoxRole.TRIAL, argv, **more)  # type: ignore[arg-type]


def ended(boxes: DockerBoxes, box: Box) -> BoxExit:
    end = boxes.wait(box, SECONDS)
    assert end is not None
    return end


def up(boxes: DockerBoxes, box: Box) -> None:
    while boxes.output(box) != b"up\n":
        assert boxes.wait(box, 0.01) is None


ASK = """
import sys, urllib.request
body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
head = {"Authorization": "Bearer " + sys.argv[2], "Content-Type": "application/json"}
try: print(urllib.request.urlopen(urllib.request.Request(sys.argv[1] + "/v1/chat/completions", body, head)).read())
except OSError as error: print(error)
"""


def test_the_gateway_is_reached_at_its_own_url_and_nothing_else_is(boxes: DockerBoxes, home: DockerHome) -> None:
    """The box needs no other URL than a process would: the same address, inside, leads to the same gateway."""
    script = home.path / "model.json"
    script.write_text(json.dumps({"version": 1, "rules": [{"text": "come in"}]}))
    told = GatewayConfig(artifacts=home.path / "artifacts", upstreams=(Upstream(name="main", script=script),))
    with gateway_thread(home.path, told, redact=bytes, environ={}) as control:
        token = control.open(Grant(Key("ev-01/g"), RUN, "trial", GatewayMode.LIVE, ("main",)))
        for said, given in ((b"come in", token), (b"401", "another box's")):
            box = boxes.launch(spec(ASK, "http://127.0.0.1:8790", given))
            assert ended(boxes, box).code == 0
            assert said in boxes.output(box)
    box = boxes.launch(spec(ASK, "http://127.0.0.1:8790", token))
    assert ended(boxes, box).code == 0
    assert b"come in" not in boxes.output(box), "the gateway has ended"


def test_a_box_that_somebody_removes_is_lost(boxes: DockerBoxes, home: DockerHome) -> None:
    box = boxes.launch(spec(SLEEP))
    up(boxes, box)
    remove = threading.Timer(0.2, lambda: home.engine.api.remove_container(name(home, box), force=True))
    remove.start()
    with pytest.raises(BoxLost, match="its container is gone"):
        boxes.wait(box, SECONDS)
    remove.join()
    assert boxes.launch(BoxSpec(box.key, RUN, BoxRole.TRIAL, ("true",))) == box, "a lost box is not started again"
    assert boxes.list() == [box]
    with pytest.raises(BoxLost):
        boxes.output(box)


def test_a_box_whose_slot_is_taken_away_is_lost_and_does_not_count(boxes: DockerBoxes, home: DockerHome) -> None:
    box = boxes.launch(spec(SLEEP))
    up(boxes, box)
    slot = home.engine.api.inspect_container(name(home, box))["Config"]["Labels"]["moss.dev/slot"]
    home.engine.api.remove_container(slot, force=True)
    with pytest.raises(BoxLost, match="slot"):
        boxes.wait(box, SECONDS)
    assert ended(boxes, boxes.launch(spec("pass"))).code == 0, "the next box gets a slot"


def test_a_box_killed_from_outside_with_its_slot_alive_ended_by_itself(boxes: DockerBoxes, home: DockerHome) -> None:
    """Nobody can tell it from a program that kills itself, and that must not count as lost."""
    box = boxes.launch(spec("import os; os.kill(os.getpid(), 9)"))
    assert (ended(boxes, box).code, ended(boxes, box).reason) == (137, ExitReason.EXITED)


LAUNCH = """
import os, sys
from pathlib import Path
from moss import config
from moss.adapters.boxes import docker_making
from moss.adapters.boxes.docker import DockerBoxes
from moss.domain.ids import Key, RunId
from moss.ports import BoxRole, BoxSpec, Mount, MountName
def die(*_, **__): os._exit(9)
where, name = sys.argv[1].split(".")
setattr(getattr(docker_making, where), name, die)
boxes = DockerBoxes(Path(sys.argv[2]), config.DockerBoxes(), 8790)
argv = ("python3", "-c", "import sys; open('/moss/state/x', 'a').write(sys.stdin.read())")
mounts = (Mount(MountName.STATE, Path(sys.argv[3]), writable=True),)
boxes.launch(BoxSpec(Key("ev-01/killed"), RunId("ev-01"), BoxRole.TRIAL, argv, mounts=mounts, stdin=b"once"))
"""


@pytest.mark.parametrize("point", ["Container.create", "Making._watch", "Folder.begin", "Container.start"])
def test_a_launch_that_is_killed_is_launched_whole_by_the_next(
    boxes: DockerBoxes, home: DockerHome, tmp_path: Path, point: str
) -> None:
    ended(boxes, boxes.launch(spec("pass")))  # the proof is there, so the killed one makes none
    done = subprocess.run([sys.executable, "-c", LAUNCH, point, home.path, tmp_path], timeout=60, check=False)
    assert done.returncode == 9
    argv = ("python3", "-c", "import sys; open('/moss/state/x', 'a').write(sys.stdin.read())")
    mounts = (Mount(MountName.STATE, tmp_path, writable=True),)
    box = boxes.launch(BoxSpec(Key("ev-01/killed"), RUN, BoxRole.TRIAL, argv, mounts=mounts, stdin=b"once"))
    assert ended(boxes, box).code == 0
    assert (tmp_path / "x").read_text() == "once"
    assert [found for found in boxes.list() if found.key == box.key] == [box]


def test_a_box_whose_stdin_never_came_whole_is_lost(boxes: DockerBoxes, home: DockerHome) -> None:
    box = boxes.launch(spec(SLEEP))
    up(boxes, box)
    (home.path / "boxes" / box.id / "feeding").touch()
    with pytest.raises(BoxLost, match="stdin"):
        boxes.wait(box, SECONDS)


def test_a_box_whose_folder_somebody_removed_is_still_found_and_reaped(boxes: DockerBoxes, home: DockerHome) -> None:
    box = boxes.launch(spec(SLEEP))
    up(boxes, box)
    shutil.rmtree(home.path / "boxes" / box.id)
    assert [(found.key, found.run, found.role) for found in boxes.list(RUN)] == [(box.key, RUN, BoxRole.TRIAL)]
    with pytest.raises(BoxLost):
        boxes.wait(box, 0.0)
    boxes.remove(box.key)
    assert name(home, box) not in home.containers()
    assert boxes.list() == []


def test_slots_are_used_again_and_clean(boxes: DockerBoxes, home: DockerHome) -> None:
    leave = "import os, time\nif os.fork() == 0:\n  os.setsid(); time.sleep(600)"
    for _ in range(3):
        box = boxes.launch(spec(leave))
        assert ended(boxes, box).code == 0
        boxes.remove(box.key)
    look = "import os; print(sorted(int(n) for n in os.listdir('/proc') if n.isdigit() and int(n) != os.getpid()))"
    box = boxes.launch(spec(look))
    ended(boxes, box)
    assert boxes.output(box) == b"[1]\n", "only the keeper is there beside it"
    boxes.remove(box.key)
    slots = [one for one in home.containers() if "-slot-" in one]
    assert len(slots) < 4


def test_two_at_once_have_a_slot_each(boxes: DockerBoxes, home: DockerHome) -> None:
    found = [boxes.launch(spec(SLEEP)) for _ in range(2)]
    slots = {home.engine.api.inspect_container(name(home, b))["Config"]["Labels"]["moss.dev/slot"] for b in found}
    assert len(slots) == 2


def test_nothing_is_left_after_removals_and_a_close(home: DockerHome, boxes: DockerBoxes) -> None:
    box = boxes.launch(spec(SLEEP, port=True))
    boxes.address(box)
    boxes.remove(box.key)
    boxes.close()
    assert home.containers() == []
    left = {path.name for path in (home.path / "boxes").iterdir()}
    assert left == {".tag", ".locks", ".slots", ".proof.json"}
    assert [path.name for path in (home.path / "boxes" / ".slots").iterdir()] == ["lock"]


def test_the_image_names_its_user_where_it_may_and_its_volumes_are_bounded(
    boxes: DockerBoxes, home: DockerHome, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM python:3.11-slim\nRUN useradd --uid 4711 agent\nUSER agent\nVOLUME /data\nENV HOME=/srv COLOUR=red\n"
    )
    image = Image(Digest(home.build(tmp_path)), "agent:1", None)
    look = (
        "import os\nopen('/data/x', 'w').close()\nspace = os.statvfs('/data')\n"
        "print(os.getuid(), space.f_blocks * space.f_frsize, os.environ['HOME'], os.environ['COLOUR'])"
    )
    before = volumes(home)
    box = boxes.launch(spec(look, image=image, limits=Limits(disk_bytes=8 << 20)))
    assert ended(boxes, box).code == 0, boxes.errors(box)
    assert boxes.output(box).split() == [b"4711", str(8 << 20).encode(), b"/srv", b"red"]
    boxes.remove(box.key)
    assert volumes(home) <= before, "its volume was left behind"


def test_the_whole_self_test_holds_here(boxes: DockerBoxes) -> None:
    lines = boxes.probe()
    assert [line for line in lines if not line.ok] == []
    assert {"network", "network control", "neighbour control", "memory", "processes", "disk"} <= {x.name for x in lines}
    assert boxes.capabilities.isolates_network
    assert boxes.list() == []


def test_an_engine_that_is_not_closed_gets_no_box(home: DockerHome, tmp_path: Path) -> None:
    """Root in boxes is asked for, and what the settings ask for is what the self-test sees."""
    boxes = DockerBoxes(tmp_path, config.DockerBoxes(image="no-such-image:1"), 8790)
    with pytest.raises(BoxRefused, match="docker pull no-such-image:1"):
        boxes.launch(spec("pass"))
    assert boxes.list() == []


def test_what_cannot_be_launched_is_refused_in_one_sentence(
    boxes: DockerBoxes, home: DockerHome, tmp_path: Path
) -> None:
    away = DockerBoxes(tmp_path, config.DockerBoxes(engine="unix:///no/such.sock"), 8790)
    with pytest.raises(BoxRefused, match=r"no Docker Engine answers at unix:///no/such.sock \(mend: start it"):
        away.launch(spec("pass"))
    with pytest.raises(BoxRefused, match="gone"):
        boxes.launch(spec("pass", image=Image(Digest(sha256(b"x")), "clerk:1", None)))
    with pytest.raises(BoxRefused, match="no folder"):
        boxes.launch(spec("pass", mounts=(Mount(MountName.WORK, tmp_path / "none", writable=True),)))
    with pytest.raises(BoxRefused, match="runsc"):
        boxes.launch(spec("pass", runtime="runsc"))
    full = DockerBoxes(home.path, config.DockerBoxes(), 8790, 1 << 60)
    with pytest.raises(NoSpace):
        full.launch(spec("pass"))
    assert boxes.list() == []


def volumes(home: DockerHome) -> set[str]:
    return {volume["Name"] for volume in home.engine.api.volumes()["Volumes"] or ()}


def name(home: DockerHome, box: Box) -> str:
    return f"moss-{home.tag}-{box.id}"


def test_an_image_that_is_a_plain_tree_is_there_read_only(home: DockerHome, tmp_path: Path) -> None:
    """So a live agent that is a process can have its trials in containers."""
    tree = tmp_path / "tree"
    tree.mkdir(mode=0o755)
    (tree / "which").write_text("this one")
    digest = Digest(sha256(b"a tree"))

    def trees(asked: Digest) -> Path:
        if asked != digest:
            raise BoxRefused("gone")
        return tree

    boxes = DockerBoxes(home.path, config.DockerBoxes(), 8790, trees=trees)
    look = "import os\nprint(open('which').read(), os.getcwd())\nopen('which', 'w')"
    box = boxes.launch(spec(look, image=Image(digest, "clerk:1", None), workdir="{image}"))
    assert ended(boxes, box).code == 1
    assert boxes.output(box) == b"this one /moss/image\n"
    assert b"Read-only file system" in boxes.errors(box)
    boxes.remove(box.key)
    with pytest.raises(BoxRefused):
        boxes.launch(spec(look, image=Image(Digest(sha256(b"another")), "clerk:2", None)))
    assert boxes.list() == []


def test_the_first_launch_of_a_home_may_have_any_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The self-test launches boxes inside of a launch; all keys share one lock here."""
    monkeypatch.setattr("moss.adapters.boxes.process_folder.STRIPES", 1)
    fresh = DockerHome(tmp_path)
    boxes = DockerBoxes(tmp_path, config.DockerBoxes(), 8790)
    try:
        assert ended(boxes, boxes.launch(spec("pass"))).code == 0
    finally:
        fresh.clean()
