"""An office over a bench of fakes: the operations and the real HTTP app, without an engine or a process."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn

from moss.api.app import create_app
from moss.api.caller import TOKEN_ROLES, new_token
from moss.api.doors import HttpDoor, LocalDoor
from moss.api.operations import Office
from moss.domain.consent import Consent
from moss.domain.detect import Detectors
from moss.domain.ids import RunId
from moss.domain.rights import Role
from moss.engine.curator import Curator
from moss.gateway.ledger import Spending
from moss.testing.workbench import Workbench, workbench
from moss.wiring import Wiring


class Metered:
    """What `moss gateway usage` asks of a running gateway."""

    def spending(self) -> list[Spending]:
        return [Spending(RunId("ev-01"), "plan", "main", "small\x1b[2J", 3, 1200, 80, 0, 0.0125)]


def wired(bench: Workbench) -> Wiring:
    """Wiring whose parts are the bench's."""
    wiring = Wiring(bench.parts.settings, {}, bench.clock)
    detectors = Detectors(("tool-error",), ())
    wiring.__dict__.update(
        store=bench.store,
        parts=bench.parts,
        desk=bench.desk,
        curator=Curator(bench.parts, detectors),
        gateway=Metered(),
        boxes=bench.boxes,
        source=bench.source,
        turns=bench.parts.turns,
        evidence=bench.parts.evidence,
        coder=bench.parts.coder,
    )
    return wiring


@dataclass
class Front:
    """The app and a token of each role."""

    bench: Workbench
    office: Office
    url: str
    client: httpx.Client
    tokens: dict[Role, str]
    consent: Consent | None = None

    def door(self, role: Role) -> HttpDoor:
        """Over HTTP, as `role`."""
        return HttpDoor(self.url, self.tokens[role])

    def headers(self, role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[role]}"}

    @property
    def local(self) -> LocalDoor:
        return LocalDoor(self.office)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return workbench(tmp_path / "bench")


class Holder:
    """The wiring that the one server of these tests asks at each request."""

    wiring: Wiring | None = None

    def now(self) -> Wiring:
        assert self.wiring is not None
        return self.wiring


class Threaded(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture(scope="session")
def served() -> Iterator[tuple[Holder, str]]:
    """The real app on a real socket."""
    holder, listening = Holder(), socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = Threaded(uvicorn.Config(create_app(holder.now), log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield holder, f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listening.close()
    assert not thread.is_alive()


@pytest.fixture
def front(bench: Workbench, served: tuple[Holder, str]) -> Iterator[Front]:
    holder, url = served
    holder.wiring = wired(bench)
    tokens = {role: new_token(bench.store, role.value, role, bench.clock.now()) for role in TOKEN_ROLES}
    with httpx.Client(base_url=url, timeout=10) as client:
        yield Front(bench, Office(holder.wiring), url, client, tokens)
