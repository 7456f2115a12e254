"""A box that starts what its image starts, on a real engine: same port, same place of the state, same variables."""

import json
import socket
import time
import uuid
from pathlib import Path

import pytest

from moss.adapters.boxes.docker import DockerBoxes
from moss.domain.ids import Digest, Key, RunId
from moss.errors import BoxRefused
from moss.ports import BoxRole, BoxSpec, Image, Limits, Mount, MountName, OwnStart
from tests.docker_home import DockerHome

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow, pytest.mark.xdist_group("docker")]

AGENT = """
import json, os, socket, sys
open("/data/seen", "a").write("once")
with socket.create_server(("0.0.0.0", 8080)) as server:
    while True:
        peer, _ = server.accept()
        told = {"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(), "uid": os.getuid()}
        peer.sendall(json.dumps(told).encode()); peer.close()
"""
FILL = """
import itertools, time
for number in itertools.count():
    open(f"/data/{number}", "wb").write(b"x" * (1 << 20))
    time.sleep(0.005)
"""
DOCKERFILE = """
FROM python:3.11-slim
WORKDIR /srv/agent
COPY agent.py .
ENV MODE=quiet DROPPED=1
VOLUME /data
USER 10009
ENTRYPOINT ["python3", "/srv/agent/agent.py"]
CMD ["serve"]
"""


@pytest.fixture(scope="module")
def image(home: DockerHome, tmp_path_factory: pytest.TempPathFactory) -> Image:
    tree = tmp_path_factory.mktemp("tree")
    (tree / "agent.py").write_text(AGENT)
    (tree / "Dockerfile").write_text(DOCKERFILE)
    return Image(Digest(home.build(tree)), "agent:1", None)


def spec(image: Image, own: OwnStart, state: Path, **more: object) -> BoxSpec:
    key = Key(f"ev-01/{uuid.uuid4().hex}")
    mounts = (Mount(MountName.STATE, state, writable=True),)
    fields = {"image": image, "mounts": mounts, "port": True, "own": own, **more}
    return BoxSpec(key, RunId("ev-01"), BoxRole.TRIAL, (), **fields)  # type: ignore[arg-type]


def asked(place: tuple[str, int]) -> dict[str, object]:
    """What it says of itself, once it listens."""
    ends = time.monotonic() + 30
    while True:
        try:
            with socket.create_connection(place, 5) as peer, peer.makefile("rb") as answer:
                if said := answer.read():
                    return dict(json.loads(said))
        except OSError:
            pass
        assert time.monotonic() < ends


def test_it_runs_as_its_image_says_with_the_persons_settings(boxes: DockerBoxes, image: Image, tmp_path: Path) -> None:
    own = OwnStart("/data", 8080, command=("serve", "--at", "{port}"), env={"MODE": "loud"}, unset=("DROPPED",))
    box = boxes.launch(spec(image, own, tmp_path, env={"STATE": "{state}"}))
    told = asked(boxes.address(box))
    code, out, _ = boxes.exec(box, ("cat", "{state}/seen"), b"", 10)
    boxes.remove(box.key)
    env = told["env"]
    assert isinstance(env, dict)
    assert (told["argv"], told["cwd"]) == (["serve", "--at", "8080"], "/srv/agent")
    assert (env["MODE"], env["STATE"]) == ("loud", "/data")
    assert "DROPPED" not in env
    assert "PYTHONDONTWRITEBYTECODE" not in env, "nothing that it would not have live"
    assert (code, out) == (0, b"once")
    assert (tmp_path / "seen").read_text() == "once", "its state is the folder that was given, under its own path"


def test_a_slot_that_had_an_own_start_serves_a_plain_box_again(
    boxes: DockerBoxes, image: Image, tmp_path: Path
) -> None:
    first = boxes.launch(spec(image, OwnStart("/data", 8080), tmp_path))
    assert asked(boxes.address(first))["argv"] == ["serve"]
    boxes.remove(first.key)
    words = (
        "python3",
        "-c",
        "import socket, sys; s = socket.create_server(('', int(sys.argv[1]))); s.accept()",
        "{port}",
    )
    plain = BoxSpec(Key("ev-01/plain"), RunId("ev-01"), BoxRole.TRIAL, words, image=image, port=True)
    box = boxes.launch(plain)
    host, port = boxes.address(box)
    ends = time.monotonic() + 30
    while boxes.wait(box, 0.05) is None:
        assert time.monotonic() < ends
        try:
            socket.create_connection((host, port), 1).close()
        except OSError:
            continue


def test_its_state_counts_against_its_bound_of_disk(boxes: DockerBoxes, image: Image, tmp_path: Path) -> None:
    own = OwnStart("/data", 8080, entrypoint=("python3", "-c"), command=(FILL,))
    box = boxes.launch(spec(image, own, tmp_path, limits=Limits(disk_bytes=32 << 20)))
    end = boxes.wait(box, 60)
    assert end is not None
    assert end.reason == "disk"


def test_an_agent_on_the_gateways_port_is_refused_with_the_mend(
    boxes: DockerBoxes, image: Image, tmp_path: Path
) -> None:
    with pytest.raises(BoxRefused, match=r"gateway\.port"):
        boxes.launch(spec(image, OwnStart("/data", 8790), tmp_path))
