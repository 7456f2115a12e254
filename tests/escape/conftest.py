"""A hostile program in a real box, and the same program in an open container as its positive control."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from moss import config
from moss.adapters.boxes.docker import DockerBoxes
from moss.domain.ids import Key, RunId
from moss.ports import Box, BoxExit, BoxRole, BoxSpec, Limits
from tests.docker_home import DockerHome

SECONDS = 60.0
IMAGE = "python:3.11-slim"
HEAD = """
import contextlib, json, os, socket, sys
def connects(host, port):
    try:
        with socket.create_connection((host, int(port)), timeout=2) as peer:
            peer.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            return peer.recv(100).decode(errors="replace")
    except OSError as error:
        return None
def resolves(name):
    try:
        return socket.gethostbyname(name)
    except OSError:
        return None
def say(value): print(json.dumps(value), flush=True)
"""


def docker(*words: str) -> str:
    """What the engine's client says."""
    done = subprocess.run(["docker", *words], check=True, capture_output=True, text=True, timeout=SECONDS)
    return done.stdout.strip()


@dataclass
class Jail:
    """Boxes of one home, and open containers beside them."""

    home: DockerHome
    boxes: DockerBoxes

    def launch(self, program: str, *words: str, limits: Limits | None = None, **more: Any) -> Box:
        key = Key(f"ev-01/{uuid.uuid4().hex}")
        argv = ("python3", "-c", HEAD + program, *words)
        bounds = limits or Limits(seconds=SECONDS)
        return self.boxes.launch(BoxSpec(key, RunId("ev-01"), BoxRole.TRIAL, argv, limits=bounds, **more))

    def ends(self, program: str, *words: str, **more: Any) -> tuple[BoxExit, bytes]:
        box = self.launch(program, *words, **more)
        end = self.boxes.wait(box, SECONDS)
        assert end is not None
        out = self.boxes.output(box)
        self.boxes.remove(box.key)
        return end, out

    def inside(self, program: str, *words: str, **more: Any) -> Any:
        """What the program says in a box."""
        end, out = self.ends(program, *words, **more)
        assert end.code == 0, (end, out)
        return json.loads(out)

    def outside(self, program: str, *words: str, docker_words: tuple[str, ...] = ()) -> Any:
        """What it says in an open container: the positive control."""
        label = ("--label", f"moss.dev/test={self.home.path.name}")
        return json.loads(docker("run", "--rm", *label, *docker_words, IMAGE, "python3", "-c", HEAD + program, *words))


@pytest.fixture(scope="module")
def jail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jail]:
    home = DockerHome(tmp_path_factory.mktemp("jail"))
    boxes = DockerBoxes(home.path, config.DockerBoxes(), 8790)
    yield Jail(home, boxes)
    for box in boxes.list():
        boxes.remove(box.key)
    boxes.close()
    home.clean()
