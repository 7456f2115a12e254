"""Owns the hold proxy before an agent in a container: itself a container, it has the host port that users know.

The proxy is `moss.hold`, the same as before a process; its folder in the home is mounted under its own path, so that
`HoldClient` reaches its control socket from the host. Only that folder: nothing else of the home is in it.
Invariants: the control socket is on no network and mounted into nobody else; a hold outlives a restart of the proxy,
the engine or the controller, since it is kept in the folder.

The agent's address is told by the target (`client.backend`) at each start: it changes with the container.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from moss.adapters.targets.docker.own import Own, OwnContainer
from moss.daemon import durable
from moss.dockerd import Engine, home_tag
from moss.domain.frozen import Frozen
from moss.errors import TargetDown, TargetError
from moss.files import write_durably
from moss.hold.client import HoldClient
from moss.hold.options import HoldOptions, to_argv

ALIAS = "moss-front"
"""what other containers on the agent's networks call it: through it they wait during a swap, too"""
MEMORY_BYTES = 256 << 20
START_SECONDS = 20.0
LOOK = 0.02


class Published(Frozen):
    """An address of this host at which users reach the agent. `host` empty: all of them."""

    host: str
    port: int = Field(ge=1, le=65535)


PORTS = TypeAdapter(tuple[Published, ...])


class Front:
    """The hold proxy of one home. `options`: its folder in the home, and the port at which the agent listens inside
    its own container, on which the proxy listens inside its own."""

    def __init__(self, engine: Engine, home: Path, options: HoldOptions, image: str) -> None:
        self._container = OwnContainer(engine, home_tag(home), "front")
        self._options, self._image = options, image
        # not in the proxy's own folder: what it could write there must not open another port
        self._ports = durable.private_folder(home.absolute() / "live") / "front.json"
        self.client = HoldClient(options.folder)

    @property
    def name(self) -> str:
        """Of its container."""
        return self._container.name

    def keep_alive(self, networks: Sequence[str], ports: Sequence[Published] | None = None) -> None:
        """It has `ports` (None: those that it was given last), stands on `networks` and answers when this returns.
        Silent where it is so.

        Raises: TargetDown: its image is not there, a port is taken, it does not get ready.
        """
        durable.private_folder(self._options.folder)
        self._container.keep(self._own(self._remembered(ports)), networks)
        self._wait()

    def prepare(self, networks: Sequence[str], ports: Sequence[Published]) -> None:
        """It is made but not started: whatever can fail before its port is free has. Raises: TargetDown."""
        durable.private_folder(self._options.folder)
        self._container.prepare(self._own(self._remembered(ports)), networks)

    def revive(self) -> bool:
        """One that was made and ended by hand is started as it was; whether there was need to. Raises: TargetDown."""
        found = self._container.found()
        if found is None or found["State"]["Running"]:
            return False
        self._container.start()
        self._wait()
        return True

    def stop(self) -> None:
        """It is gone, its port free, when this returns. Absent is silent."""
        self._container.remove()
        durable.remove(self._ports)

    def runs(self) -> bool:
        return self._container.runs()

    def published(self) -> tuple[Published, ...]:
        """The addresses that it was given last, also while it is away."""
        data = durable.read(self._ports)
        try:
            return () if data is None else PORTS.validate_json(data)
        except ValidationError as error:
            raise TargetError(f"{self._ports} cannot be read: {error.error_count()} errors") from error

    def image_is_current(self) -> bool:
        """Whether it runs the image that is named now; one that runs is not exchanged for a newer one by itself."""
        return self._container.image_is(self._image)

    def _remembered(self, ports: Sequence[Published] | None) -> Sequence[Published]:
        """On the disk before it is done."""
        known = self.published()
        if ports is None or tuple(ports) == known:
            return known
        write_durably(self._ports, PORTS.dump_json(tuple(ports)))
        return ports

    def _own(self, ports: Sequence[Published]) -> Own:
        # `--detach` is for a process of the host
        argv = [word for word in to_argv(self._options) if word != "--detach"]
        return Own(
            role="front",
            image=self._image,
            argv=("python3", *argv[1:]),
            mounts={self._options.folder: True},
            alias=ALIAS,
            memory_bytes=MEMORY_BYTES,
            inside=self._options.port,
            ports=tuple((one.host, one.port) for one in ports),
        )

    def _wait(self) -> None:
        ends = time.monotonic() + START_SECONDS
        while True:
            try:
                self.client.status()
                return
            except TargetDown:
                if time.monotonic() > ends:
                    words = f"it says: {self._container.says()}"
                    raise TargetDown(f"the hold proxy in {self.name} does not answer; {words}") from None
            time.sleep(LOOK)


def front_options(home: Path, inside: int, health_path: str, session_header: str) -> HoldOptions:
    """The proxy's settings, as its container starts it: on all addresses of that container."""
    return HoldOptions(
        folder=home.absolute() / "hold",
        host="0.0.0.0",  # noqa: S104
        port=inside,
        health_paths=(health_path,),
        session_header=session_header,
    )
