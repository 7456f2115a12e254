"""Owns the way of a live agent in a container to the gateway: a small container beside it, by the name `moss-gateway`.

It passes one TCP port to the gateway's Unix door (`HOME/gateway/door`), the only folder that it sees, read-only. The
gateway takes nothing without the agent's token, so that neighbours on the network get no further than at any HTTP port.
The engine's default network has no names, and addresses on it change with a restart: an agent that is on no other gets
a second network, MOSS's own, without a way out, on which the name holds (`networks`).
Invariant: nothing but the gateway is reached through it.
"""

import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from moss.adapters.targets.docker.door_pipe import OPEN
from moss.adapters.targets.docker.own import NAMELESS, Own, OwnContainer
from moss.dockerd import Conflict, Engine, Gone, home_tag
from moss.dockerd.labels import HOME
from moss.errors import TargetDown

ALIAS = "moss-gateway"
MEMORY_BYTES = 64 << 20
START_SECONDS = 20.0
LOOK = 0.02
OFF = frozenset(("host", "none"))
"""no networks of the engine: nothing can stand beside a container there"""


class Door:
    """The door of one home. `port`: the gateway's, on the host and for the agent alike."""

    def __init__(self, engine: Engine, home: Path, image: str, port: int) -> None:
        self._engine, self._image, self._port = engine, image, port
        self._tag = home_tag(home)
        self._folder = home.absolute() / "gateway" / "door"
        self._container = OwnContainer(engine, self._tag, "door")

    @property
    def name(self) -> str:
        """Of its container."""
        return self._container.name

    def url(self, of_agent: Sequence[str]) -> str:
        """The gateway, as an agent on these networks reaches it."""
        return f"http://{'127.0.0.1' if set(of_agent) <= OFF else ALIAS}:{self._port}"

    @property
    def own_network(self) -> str:
        """The name of the network for agents that are on the engine's default one."""
        return f"moss-{self._tag}"

    def networks(self, of_agent: Sequence[str]) -> tuple[str, ...]:
        """What the agent's container has to be on: its own networks, and MOSS's where none of them has names. Made
        where it is not there. Raises: TargetDown."""
        if not set(of_agent) <= NAMELESS:
            return tuple(of_agent)
        self._make_network()
        return (*of_agent, self.own_network)

    def keep_alive(self, of_agent: Sequence[str]) -> None:
        """It stands on the agent's networks under its name when this returns. Silent where it does, and for an agent
        on the host's own network: that reaches the gateway as a process does. Raises: TargetDown."""
        if set(of_agent) <= OFF:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        named = [name for name in self.networks(of_agent) if name not in NAMELESS]
        self._container.keep(self._own(), named)
        self._wait()

    def stop(self) -> None:
        """It is gone, and MOSS's own network, unless a container is on it, also one that is stopped: it could not be
        started again. Absent is silent."""
        self._container.remove()
        try:
            with self._engine.saying(f"the network {self.own_network} cannot be removed"):
                if not self._engine.api.containers(all=True, filters={"network": self.own_network}):
                    self._engine.api.remove_network(self.own_network)
        except (Gone, TargetDown):
            return

    def runs(self) -> bool:
        return self._container.runs()

    def _wait(self) -> None:
        """Until it listens. It says so in its log: where the network is isolated, the host cannot knock."""
        ends = time.monotonic() + START_SECONDS
        while not self._container.said(OPEN):
            if time.monotonic() > ends:
                raise TargetDown(f"the door in {self.name} does not open; it says: {self._container.says()}")
            time.sleep(LOOK)

    def _own(self) -> Own:
        source = (files("moss.adapters.targets.docker") / "door_pipe.py").read_text()
        socket = str(self._folder / "gateway.sock")
        return Own(
            role="door",
            image=self._image,
            argv=("python3", "-I", "-S", "-c", source, str(self._port), socket),
            mounts={self._folder: False},
            alias=ALIAS,
            memory_bytes=MEMORY_BYTES,
            inside=self._port,
        )

    def _make_network(self) -> None:
        """Between containers only. Isolated where the engine can: then the host's services are not on it either."""
        try:
            with self._engine.saying(f"the network {self.own_network} cannot be looked at"):
                self._engine.api.inspect_network(self.own_network)
                return
        except Gone:
            pass
        options = {"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}
        try:
            with self._engine.saying(f"the network {self.own_network} cannot be made"):
                self._engine.api.create_network(
                    self.own_network, driver="bridge", internal=True, options=options, labels={HOME: self._tag}
                )
        except Conflict:
            return
