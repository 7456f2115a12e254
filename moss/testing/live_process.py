"""Owns a live target of real processes for tests: a home, trees of the tiny agent, clients. Never used by MOSS itself.

Every process it starts ends with it.
"""

import http.client
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from moss.adapters.targets.process.target import ProcessTarget
from moss.config import (
    HealthSettings,
    HttpTurn,
    LiveSettings,
    ProcessLive,
    RetentionSettings,
    Settings,
    SubstrateSettings,
    SwapSettings,
)
from moss.domain.frozen import sha256
from moss.domain.ids import Digest
from moss.domain.trial import Answer
from moss.errors import BoxRefused
from moss.ports import Image, Place, Probe, Readiness
from moss.testing import agent

SECONDS = 30.0
"""Longer than any wait of a test takes: one that takes so long has failed."""


def until(holds: Callable[[], object], seconds: float = SECONDS) -> None:
    """Waits for a condition."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "the condition never came true"
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Asked:
    """A message on its way. `status` is None until it is answered; 0: the connection broke."""

    text: str
    status: int | None = None
    body: dict[str, object] = field(default_factory=dict)
    seconds: float = 0.0

    def wait(self) -> "Asked":
        until(lambda: self.status is not None)
        return self


class Turns:
    """A turn driver that knows the tiny agent."""

    def send(self, place: Place, session: str, message: str, seconds: float) -> Answer:
        asked = post(place.port, message)
        if not asked.status:
            return Answer(error="no answer")
        return Answer(status=asked.status, text=str(asked.body.get("reply", "")))

    def health(self, place: Place) -> Probe:
        connection = http.client.HTTPConnection(place.host, place.port, timeout=0.9)
        try:
            connection.request("GET", "/health")
            status = connection.getresponse().status
        except OSError as error:
            return Probe(Readiness.STARTING, None, str(error))
        except http.client.HTTPException as error:
            return Probe(Readiness.FAILED, None, str(error))
        finally:
            connection.close()
        known = {200: Readiness.READY, 503: Readiness.STARTING}
        return Probe(known.get(status, Readiness.FAILED), None, f"/health answered {status}")


def post(port: int, text: str, path: str = "/say") -> Asked:
    """One message, answered or broken when this returns."""
    asked, began = Asked(text), time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("POST", path, text.encode(), {"X-Session-Id": "s-1"})
        response = connection.getresponse()
        asked.body = json.loads(response.read() or b"{}")
        asked.seconds, asked.status = time.monotonic() - began, response.status
    except (OSError, http.client.HTTPException, ValueError):
        asked.seconds, asked.status = time.monotonic() - began, 0
    finally:
        connection.close()
    return asked


def tiny_settings(folder: Path, live: LiveSettings, waiting: int) -> Settings:
    """The settings of a home that holds the tiny agent, whatever it runs in."""
    return Settings(
        root=folder,
        home=folder / "home",
        substrate=SubstrateSettings(name="tiny"),
        live=live,
        health=HealthSettings(),
        turn=HttpTurn(path="/say", body="{}"),
        swap=SwapSettings(hold_waiting=waiting),
        retention=RetentionSettings(free_bytes=0),
    )


class LiveProcess:
    """A live target of `folder` whose version "1" is installed. `settings` are those of its home."""

    def __init__(self, folder: Path, *, grace: float = 2.0, drain: str = "hold", waiting: int = 100) -> None:
        self.folder, self.trees = folder, folder / "trees"
        live = ProcessLive.model_validate(
            {
                "argv": ["python3", "-S", "-E", "{image}/agent.py", "--port", "{port}", "--state", "{state}"],
                "env": {"GATEWAY": "{gateway}", "TOKEN": "{token}", "PORT": "{port}"},
                "port": free_port(),
                "state": "state",
                "grace_seconds": grace,
                "start_seconds": 5,
                "drain": drain,
            }
        )
        self.settings = tiny_settings(folder, live, waiting)
        self.old = self.version("1")
        self._threads: list[threading.Thread] = []
        self.target = self.reopened()

    def version(self, name: str, **conduct: object) -> Image:
        """An image of the tiny agent that behaves so."""
        image = Image(Digest(sha256(name.encode())), f"tiny:{name}", None)
        tree = self._tree(image.digest)
        tree.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(agent.__file__, tree / "agent.py")
        (tree / "conduct.json").write_text(json.dumps({"version": name, **conduct}))
        return image

    def reopened(self) -> ProcessTarget:
        """The same target, as a controller that was started anew sees it."""
        return ProcessTarget(self.settings.home, self.settings, Turns(), self.image, lambda: ("http://gw", "tok"))

    def image(self, digest: Digest) -> Path:
        tree = self._tree(digest)
        if not tree.is_dir():
            raise BoxRefused(f"the image {digest} is gone")
        return tree

    def drop(self, image: Image) -> None:
        shutil.rmtree(self._tree(image.digest))

    def up(self) -> None:
        """Version "1" serves when this returns."""
        self.target.install(self.old)
        self.until_ready()

    def until_ready(self) -> None:
        until(lambda: self.target.probe().readiness is Readiness.READY)

    def send(self, text: str, path: str = "/say") -> Asked:
        """A user's message through the front door, in a thread of its own."""
        asked = Asked(text)

        def run() -> None:
            done = post(self.settings.live.port, text, path)
            asked.body, asked.seconds, asked.status = done.body, done.seconds, done.status

        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)
        return asked

    def waits(self, count: int) -> None:
        """Until so many messages wait in the proxy."""
        until(lambda: self.target._hold.status().waiting == count)

    def lapsed(self) -> None:
        """Until the hold let go by itself."""
        until(lambda: self.target._hold.status().held is None)

    def kept(self) -> list[str]:
        """What the state holds: messages that were acknowledged."""
        file = self.target.state / "messages.jsonl"
        return [json.loads(line)["text"] for line in file.read_text().splitlines()] if file.exists() else []

    def two_writers(self) -> bool:
        """Whether an agent ever found another one on the state."""
        return (self.target.state / "violations").exists()

    def close(self) -> None:
        self.target.shut_down()
        for thread in self._threads:
            thread.join(SECONDS)

    def _tree(self, digest: Digest) -> Path:
        return self.trees / digest.removeprefix("sha256:")[:16]
