"""Owns the connection to a Docker Engine: its address, its version, and its errors in MOSS's words.

Adapters of boxes, builders and targets share it. Never decides anything, and imports the SDK only when it connects.
Invariant: what an engine says reaches a person as one sentence; nothing of the environment is read (no DOCKER_HOST).
"""

import contextlib
import re
import secrets
import socket
import threading
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from moss.errors import MossError, NoSpace
from moss.files import made_once

if TYPE_CHECKING:
    from docker import APIClient

Config = dict[str, Any]
"""The engine's own form: it comes from the engine and goes to the engine."""
SOCKET = "unix:///var/run/docker.sock"
OLDEST = (1, 41)
"""Docker 20.10, Debian 11's and 12's."""
CALL_SECONDS = 120.0
NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.I)


class Gone(Exception):
    """The engine does not know the container or image. Callers say what that means."""


class Conflict(Exception):
    """The name is taken, or the container is not in a state for it."""


class Engine:
    """One engine. `down` is the error class that a missing engine, a missing right or an odd answer becomes."""

    def __init__(self, address: str | None, down: type[MossError]) -> None:
        self.address, self._down = address or SOCKET, down
        self._connecting = threading.Lock()

    @property
    def api(self) -> "APIClient":
        """For calls that end."""
        with self._connecting:
            return self._api

    @cached_property
    def _api(self) -> "APIClient":
        return self._connect(CALL_SECONDS)

    @cached_property
    def _streams(self) -> "APIClient":
        return self._connect(None)

    @property
    def streams(self) -> "APIClient":
        """For calls that last as long as a container does."""
        with self._connecting:
            return self._streams

    @property
    def version(self) -> tuple[int, ...]:
        """Of its API."""
        with self.saying("the engine cannot be asked"):
            return tuple(int(part) for part in self.api.api_version.split("."))

    def container(self, name: str) -> Config | None:
        """One container as the engine tells it, by its name or id; None where there is none."""
        try:
            with self.saying(f"the container {name} cannot be looked at"):
                told: Config = self.api.inspect_container(name)
                return told
        except Gone:
            return None

    def image(self, name: str) -> Config | None:
        """One image as the engine tells it, by its name or id; None where there is none."""
        try:
            with self.saying(f"the image {name} cannot be looked at"):
                told: Config = self.api.inspect_image(name)
                return told
        except Gone:
            return None

    def close(self) -> None:
        """Ends its connections; the next call makes new ones."""
        for name in ("_api", "_streams"):
            if (client := self.__dict__.pop(name, None)) is not None:
                client.close()

    @contextlib.contextmanager
    def saying(self, doing: str) -> Iterator[None]:
        """Errors inside become Gone, Conflict, NoSpace, or `down` with `doing` in front."""
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException

        try:
            yield
        except APIError as error:
            self._refuse(doing, error.status_code or 500, plain(error.explanation or str(error)))
        except (RequestException, DockerException, OSError) as error:
            raise self._down(f"{doing}: the engine at {self.address} does not answer ({plain(str(error))})") from None

    def _refuse(self, doing: str, status: int, words: str) -> NoReturn:
        if NO_SPACE.search(words):
            raise NoSpace(f"{doing}: the engine has no space left (mend: docker system df)") from None
        if status == 404:
            raise Gone(words) from None
        if status == 409:
            raise Conflict(words) from None
        raise self._down(f"{doing}: {words}") from None

    def _connect(self, seconds: float | None) -> "APIClient":
        self._knock()
        from docker import APIClient
        from docker.errors import DockerException

        try:
            # the version is asked with a bound of time, whatever the bound of later calls
            version = APIClient(self.address, version="auto", timeout=10)
            api, found = version.api_version, tuple(int(part) for part in version.api_version.split("."))
            version.close()
            if found < OLDEST:
                raise self._down(f"the engine at {self.address} is too old (API {api}, needs 1.41: Docker 20.10)")
            client = APIClient(self.address, version=api, timeout=seconds, max_pool_size=64)
            weakref.finalize(self, client.close)
            return client
        except DockerException as error:
            words = plain(error)
            raise self._down(f"what answers at {self.address} is no Docker Engine that MOSS knows ({words})") from None

    def _knock(self) -> None:
        """Whether somebody listens, before the SDK is even loaded: its own words for it help nobody."""
        try:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(10)
                peer.connect(self.address.removeprefix("unix://"))
        except PermissionError:
            mend = "join the group `docker`, or run as root"
            raise self._down(f"this user may not use the engine at {self.address} (mend: {mend})") from None
        except OSError:
            mend = "start it, or name its socket: boxes.engine, build.engine"
            raise self._down(f"no Docker Engine answers at {self.address} (mend: {mend})") from None


def home_tag(home: Path) -> str:
    """What tells this home's containers and images from those of others on the same engine."""
    boxes = home / "boxes"
    boxes.mkdir(mode=0o700, parents=True, exist_ok=True)
    return made_once(boxes / ".tag", lambda: secrets.token_hex(4).encode()).decode()


def plain(words: object) -> str:
    """What an engine said, as one line that no terminal obeys."""
    text = " ".join(str(words).split())[:500]
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def moment(text: str) -> datetime:
    """A time as the engine says it: RFC 3339 with nanoseconds, which Python does not read."""
    whole, _, rest = text.partition(".")
    fraction = rest.rstrip("Z")[:6] if rest else "0"
    return datetime.fromisoformat(f"{whole.rstrip('Z')}.{fraction:0<6}").replace(tzinfo=UTC)


def labels_filter(labels: dict[str, str]) -> dict[str, Any]:
    return {"label": [f"{name}={value}" for name, value in labels.items()]}
