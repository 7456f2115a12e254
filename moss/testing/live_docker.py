"""Owns a live target of real containers for tests: a home, images of the tiny agent, clients. Never used by MOSS.

All that it makes carries the home's label or the test's own, and is removed with it; images stay for the next bench of
the same session, until `sweep`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import uuid
from pathlib import Path

from moss.adapters.targets.docker.running import look
from moss.adapters.targets.docker.target import DockerTarget
from moss.config import (
    DockerLive,
)
from moss.dockerd import Engine, home_tag, labels_filter
from moss.domain.ids import Digest, Key
from moss.errors import TargetDown
from moss.ports import Image, Readiness
from moss.testing import agent
from moss.testing.live_process import SECONDS, Asked, Turns, post, tiny_settings, until

INSIDE = 8080
LABEL = "moss.dev/test"
REPOSITORY = f"moss-test-tiny-{os.getpid()}"
"""of this process: another session's end must not take the images away"""
DOCKERFILE = """FROM python:3.11-slim
COPY agent.py conduct.json /agent/
ENTRYPOINT ["python3", "-S", "-E", "/agent/agent.py"]
CMD ["--host", "0.0.0.0", "--port", "8080", "--state", "/data"]
"""


def docker(*words: str) -> str:
    """What `docker` writes."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def tiny_image(name: str, more: str = "", **conduct: object) -> Image:
    """An image of the tiny agent that behaves so, built once. `more`: further lines of its Dockerfile."""
    told = json.dumps({"version": name, **conduct}, sort_keys=True)
    source = Path(agent.__file__).read_text()
    tag = f"{REPOSITORY}:{hashlib.sha256((told + source + more).encode()).hexdigest()[:12]}"
    there = subprocess.run(["docker", "image", "inspect", "-f", "{{.Id}}", tag], capture_output=True, text=True)
    key = there.stdout.strip()
    if there.returncode:
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder)
            shutil.copyfile(agent.__file__, tree / "agent.py")
            (tree / "conduct.json").write_text(told)
            (tree / "Dockerfile").write_text(DOCKERFILE + more)
            labels = ["--label", f"{LABEL}={REPOSITORY}", "--label", f"moss.dev/name=tiny:{name}"]
            key = docker("build", "-q", "--network", "none", *labels, "-t", tag, str(tree))
    return Image(Digest(key), f"tiny:{name}", None)


def sweep() -> None:
    """No image that this process made of the tiny agent is left."""
    for key in docker("image", "ls", "-q", "--filter", f"label={LABEL}={REPOSITORY}").split():
        subprocess.run(["docker", "image", "rm", "-f", key], capture_output=True, check=False)


class LiveDocker:
    """A live target of `folder` whose version "1" runs as a container that somebody started, adopted by `up`."""

    def __init__(
        self,
        folder: Path,
        *,
        grace: float = 2.0,
        drain: str = "hold",
        waiting: int = 100,
        env: dict[str, str] | None = None,
        engine: str | None = None,
    ) -> None:
        self.folder, self.name, self.engine = folder, f"tiny-{uuid.uuid4().hex[:8]}", engine
        self.volume = f"{self.name}-data"
        live = DockerLive.model_validate(
            {
                "container": self.name,
                "port": INSIDE,
                "state": "/data",
                "env": {"GATEWAY": "{gateway}", "TOKEN": "{token}"} if env is None else env,
                "grace_seconds": grace,
                "start_seconds": 20,
                "drain": drain,
                "engine": engine,
            }
        )
        self.settings = tiny_settings(folder, live, waiting)
        self.settings.home.mkdir(mode=0o700, parents=True)
        self.old = tiny_image("1")
        self._threads: list[threading.Thread] = []
        self._targets: list[DockerTarget] = []
        self.target = self.reopened()

    def docker(self, *words: str) -> str:
        """On this bench's engine."""
        return docker(*(("-H", self.engine) if self.engine else ()), *words)

    def reopened(self) -> DockerTarget:
        target = DockerTarget(self.settings.home, self.settings, Turns(), lambda: ("http://gw", "tok"))
        self._targets.append(target)
        return target

    def run(self, *options: str, image: Image | None = None) -> None:
        """A person starts the agent."""
        where = ("-v", f"{self.volume}:/data", "-p", f"127.0.0.1::{INSIDE}")
        named = self.docker("image", "inspect", "-f", "{{index .RepoTags 0}}", (image or self.old).digest)
        self.docker("run", "-d", "--name", self.name, *where, *options, named)

    def up(self, *options: str) -> None:
        """Version "1" serves under MOSS when this returns."""
        self.run("--restart", "unless-stopped", *options)
        self.adopt()

    def adopt(self) -> None:
        running = look(self.target.engine, self.name)
        image = self.target.current().image
        self.target.adoption.adopt(running, image)
        self.until_ready()

    @property
    def port(self) -> int:
        """Where users talk to it."""
        return self.target.front()[1]

    def swapped(self, new: Image, key: str) -> None:
        """A whole swap to `new`, settled, as the engine of MOSS would do it."""
        target, name = self.target, Key(key)
        old = target.current().image
        target.prepare(new, name)
        target.hold(name, 1.0, 60.0)
        target.stop(name, old.digest)
        target.snapshot(name, 1 << 30)
        target.start(name, new.digest)
        self.until_ready()
        target.release(name)
        target.settle(name)

    def until_ready(self) -> None:
        until(lambda: self.target.probe().readiness is Readiness.READY)

    def send(self, text: str, path: str = "/say") -> Asked:
        """A user's message through the front door, in a thread of its own."""
        asked, port = Asked(text), self.port

        def run() -> None:
            done = post(port, text, path)
            asked.body, asked.seconds, asked.status = done.body, done.seconds, done.status

        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)
        return asked

    def waits(self, count: int) -> None:
        """Until so many messages wait in the proxy."""
        front = self.target._around.front
        assert front is not None
        until(lambda: front.client.status().waiting == count)

    def lapsed(self) -> None:
        """Until the hold let go by itself."""
        front = self.target._around.front
        assert front is not None
        until(lambda: front.client.status().held is None)

    def drop(self, image: Image) -> None:
        self.docker("image", "rm", "-f", image.digest)

    @property
    def state(self) -> Path:
        """The state's folder on this host; it takes root to see it."""
        return Path(self.docker("volume", "inspect", "-f", "{{.Mountpoint}}", self.volume))

    def kept(self) -> list[str]:
        """What the state holds: messages that were acknowledged."""
        file = self.state / "messages.jsonl"
        return [json.loads(line)["text"] for line in file.read_text().splitlines()] if file.exists() else []

    def two_writers(self) -> bool:
        """Whether an agent ever found another one on the state."""
        return (self.state / "violations").exists()

    def inspect(self, name: str | None = None) -> dict[str, object]:
        told: dict[str, object] = json.loads(self.docker("container", "inspect", name or self.name))[0]
        return told

    def containers(self) -> list[str]:
        """Names of all that belong to this bench: MOSS's, and those that somebody started."""
        engine = Engine(self.engine, TargetDown)
        try:
            tag = home_tag(self.settings.home)
            ours = engine.api.containers(all=True, filters=labels_filter({"moss.dev/home": tag}))
            named = engine.api.containers(all=True, filters={"name": self.name})
            return sorted({row["Names"][0].lstrip("/") for row in (*ours, *named)})
        finally:
            engine.close()

    def close(self) -> None:
        for name in self.containers():
            self._removed("rm", "-f", name)
        for target in self._targets:
            target.engine.close()
        for thread in self._threads:
            thread.join(SECONDS)
        self._removed("volume", "rm", "-f", self.volume)
        self._removed("network", "rm", f"moss-{home_tag(self.settings.home)}")

    def _removed(self, *words: str) -> None:
        host = ("-H", self.engine) if self.engine else ()
        subprocess.run(["docker", *host, *words], capture_output=True, check=False)
