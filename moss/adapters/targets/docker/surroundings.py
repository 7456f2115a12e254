"""Owns what stands around the live agent's container: the hold proxy before it, the door to the gateway, its address.

Never touches the agent's container. Invariant: the proxy is told of each new start of the agent before anybody is let
through to it.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from moss import __version__
from moss.adapters.targets.docker.containers import Containers, boot_of, networks_of, runs
from moss.adapters.targets.docker.door import Door
from moss.adapters.targets.docker.front import Front, Published, front_options
from moss.config import DockerLive, Settings
from moss.dockerd import Config
from moss.dockerd.substrate import UserSettings
from moss.domain.launch import fill, launch
from moss.errors import TargetDown
from moss.hold.client import HoldClient
from moss.hold.words import Backend

T = TypeVar("T")
ADDRESS_SECONDS = 1.0
"""an engine tells the address a moment after the start"""


class Surroundings:
    """Of the agent of one home. `token` gives the live agent's own token of the gateway."""

    def __init__(
        self, containers: Containers, home: Path, settings: Settings, live: DockerLive, token: Callable[[], str]
    ) -> None:
        self._containers, self._live, self._token = containers, live, token
        self.image = live.front_image or f"moss:{__version__}"
        self.door = Door(containers.engine, home, self.image, settings.gateway.port)
        options = front_options(home, live.port, settings.health.path, settings.session_header)
        self.front = Front(containers.engine, home, options, self.image) if live.drain == "hold" else None

    def lent(self, networks: tuple[str, ...]) -> dict[str, str]:
        """The variables that MOSS sets in an agent on these networks. Raises: GatewayDown."""
        start = launch((), self._live.env, {}, self.door.url(networks), self._token())
        places = {"port": str(self._live.port), "state": str(self._live.state)}
        return {name: fill(value, places) for name, value in start.env.items()}

    def keep(self, networks: tuple[str, ...], ports: tuple[Published, ...] | None = None) -> None:
        """Door and proxy stand where they must. Raises: TargetDown."""
        self.door.keep_alive(networks)
        if self.front is not None:
            self.front.keep_alive(self.door.networks(networks), ports)

    def stop(self) -> None:
        if self.front is not None:
            self.front.stop()
        self.door.stop()

    def ask(self, ask: Callable[[HoldClient], T], networks: Callable[[], tuple[str, ...]]) -> T | None:
        """Asks the proxy; one that is away is started first. None for an agent without one. Raises: TargetDown."""
        if self.front is None:
            return None
        try:
            return ask(self.front.client)
        except TargetDown:
            self.front.keep_alive(self.door.networks(networks()))
            return ask(self.front.client)

    def tell(self, told: Config, networks: Callable[[], tuple[str, ...]]) -> None:
        """The proxy passes messages to this start of the agent from now on; silent where it does."""
        address, boot = self.address(told), boot_of(told)
        if self.front is None or address is None or boot is None:
            return
        # on MOSS's own network nobody else can get the address of an agent that has just ended; on the engine's default
        # one any container can, and would be sent the users' messages
        own = (told["NetworkSettings"]["Networks"] or {}).get(self.door.own_network) or {}
        backend = Backend(host=own.get("IPAddress") or address, port=self._live.port, boot=boot)

        def say(client: HoldClient) -> None:
            if client.status().backend != backend:
                client.backend(backend)

        self.ask(say, networks)

    def address(self, told: Config) -> str | None:
        """Where a running agent is for this host and for the proxy: on the network that it was created on, if any."""
        if told["HostConfig"].get("NetworkMode") == "host":
            return "127.0.0.1"
        joined = told["NetworkSettings"]["Networks"] or {}
        for name in networks_of(told):
            if name != self.door.own_network and (address := (joined.get(name) or {}).get("IPAddress")):
                return str(address)
        return None

    def found(self, key: str) -> Config:
        """A container that was just started, with its address as soon as it has one. Raises: TargetDown."""
        ends = time.monotonic() + ADDRESS_SECONDS
        while (told := self._containers.look(key)) is not None and runs(told):
            if self.address(told) is not None or time.monotonic() > ends:
                break
            time.sleep(0.01)
        if told is None:
            raise TargetDown("the agent's container was deleted as soon as it was started")
        return told


def networks_asked(user: UserSettings) -> tuple[str, ...]:
    """The same of a container that is to be made."""
    if not user.endpoints:
        return (str(user.host.get("NetworkMode") or "bridge"),)
    return tuple(sorted(user.endpoints, key=lambda name: (name != user.primary, name)))
