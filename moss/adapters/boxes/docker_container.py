"""Owns one container of a box as the engine knows it: made, started, fed, waited for, killed, removed.

Never decides why it ended. Invariant: absent is an answer (`state` None, `remove` silent), not an error.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moss.adapters.boxes.docker_folder import Folder
from moss.adapters.boxes.docker_slots import SLOT
from moss.dockerd import Conflict, Engine, Gone, labels_filter, moment, plain
from moss.dockerd.labels import HOME, KEY, ROLE, RUN
from moss.domain.ids import Key, RunId
from moss.errors import BoxRefused
from moss.ports import Box, BoxRole

BOX, BOOT = "moss.dev/box", "moss.dev/boot"
"""Labels of a box beside its home and slot."""
REMOVE_SECONDS = 60.0
NOT_THERE, NO_PROGRAM = 127, 126
Feed = Callable[[bytes, Folder], None]


@dataclass(frozen=True, slots=True)
class State:
    """One look at a container."""

    status: str
    code: int
    out_of_memory: bool
    seconds: float
    slot: str

    @property
    def over(self) -> bool:
        return self.status in ("exited", "dead")


@dataclass(frozen=True, slots=True)
class Container:
    """A container by its name."""

    engine: Engine
    name: str

    def state(self) -> State | None:
        if (found := self.engine.container(self.name)) is None:
            return None
        state = found["State"]
        return State(
            status=state["Status"],
            code=int(state["ExitCode"]),
            out_of_memory=bool(state["OOMKilled"]),
            seconds=max(0.0, (moment(state["FinishedAt"]) - moment(state["StartedAt"])).total_seconds()),
            slot=found["Config"]["Labels"].get(SLOT, ""),
        )

    def create(self, config: dict[str, Any]) -> None:
        """Raises: BoxRefused, NoSpace."""
        try:
            with self.engine.saying(f"the box {self.name} cannot be made"):
                self.engine.api.create_container_from_config(config, self.name)
        except Gone as error:
            raise BoxRefused(f"the box {self.name} cannot be made: {error}") from None

    def start(self) -> tuple[int, str] | None:
        """None when it runs; the code and the words of a program that cannot be started. Raises: BoxRefused."""
        from docker.errors import APIError

        try:
            with self.engine.saying(f"the box {self.name} cannot be started"):
                try:
                    self.engine.api.start(self.name)
                except APIError as error:
                    code = _program_missing(str(error.explanation))
                    if code is None:
                        raise
                    return code, plain(error.explanation)
        except (Gone, Conflict) as error:
            raise BoxRefused(f"the box {self.name} cannot be started: {error}") from None
        return None

    @contextlib.contextmanager
    def stdin(self) -> Iterator[Feed]:
        """Attached before the start, so that nothing is missed. The feed goes on by itself once it is called."""
        with self.engine.saying(f"the box {self.name} cannot be fed"):
            stream = self.engine.streams.attach_socket(self.name, {"stdin": 1, "stream": 1})
        fed = False

        def feed(data: bytes, folder: Folder) -> None:
            nonlocal fed
            fed = True
            ready = threading.Event()
            threading.Thread(target=_feed, args=(stream, data, folder, ready), daemon=True).start()
            ready.wait()

        try:
            yield feed
        finally:
            if not fed:
                stream._sock.close()
                stream.close()

    def wait(self, seconds: float) -> None:
        """Returns when it has ended or is gone, or after `seconds`."""
        from requests.exceptions import ConnectionError, ReadTimeout

        state = self.state()
        if state is None or state.over:
            return
        if state.status == "created":
            time.sleep(min(seconds, 0.01))
            return
        # the SDK says a time-out in either of the last two
        with (
            contextlib.suppress(Gone),
            self.engine.saying("the box cannot be waited for"),
            contextlib.suppress(ConnectionError, ReadTimeout),
        ):
            self.engine.api.wait(self.name, timeout=seconds)

    def kill(self) -> None:
        """It has ended when this returns. Ended or absent is silent; one that is just starting is waited for."""
        while (state := self.state()) is not None and not state.over:
            with contextlib.suppress(Gone, Conflict), self.engine.saying(f"the box {self.name} cannot be killed"):
                self.engine.api.kill(self.name)
            time.sleep(0.005)

    def remove(self) -> None:
        """It is gone when this returns; absent is silent. Its volumes go with it."""
        ends = time.monotonic() + REMOVE_SECONDS
        while time.monotonic() < ends:
            try:
                with self.engine.saying(f"the box {self.name} cannot be removed"):
                    self.engine.api.remove_container(self.name, v=True, force=True)
                return
            except Gone:
                return
            except Conflict:
                # somebody else removes it already
                time.sleep(0.01)


def boxes_of(engine: Engine, tag: str) -> list[Box]:
    """The boxes of a home, as the labels of its containers tell them."""
    with engine.saying("boxes cannot be listed"):
        rows = engine.api.containers(all=True, filters=labels_filter({HOME: tag}))
    told = [(row["Labels"], datetime.fromtimestamp(row["Created"], UTC)) for row in rows if BOX in row["Labels"]]
    return [
        Box(Key(said[KEY]), RunId(said[RUN]), BoxRole(said[ROLE]), said[BOX], said[BOOT], made) for said, made in told
    ]


def _feed(stream: Any, data: bytes, folder: Folder, ready: threading.Event) -> None:
    """Sends all of stdin. A program that does not read it to the end is its own matter."""
    peer: socket.socket = stream._sock
    with contextlib.suppress(OSError), folder.feeding():
        ready.set()
        with contextlib.suppress(OSError):
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
        # the engine closes its end when the box has ended or was given all
    ready.set()
    peer.close()
    stream.close()


def _program_missing(words: str) -> int | None:
    if "executable file not found" in words or "no such file or directory" in words:
        return NOT_THERE
    return NO_PROGRAM if "permission denied" in words or "exec format error" in words else None
