"""Owns the clients of the swap's benchmarks: one that asks without pause and writes down when it was answered by whom,
and the agent's own process, stopped and started by hand. Never goes through MOSS."""

import http.client
import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from moss.adapters.targets.process.words import Spec
from moss.domain.launch import fill, fill_all
from moss.testing.live_process import free_port

PAUSE = 0.005
SECONDS = 60.0


@dataclass
class Asking:
    """Asks again and again. `ask` gives who answered, None where nobody did. `answers`: (wall time, who)."""

    ask: Callable[[], str | None]
    answers: list[tuple[float, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.over.wait(PAUSE):
            if (who := self.ask()) is not None:
                self.answers.append((time.time(), who))

    def until(self, holds: Callable[[], bool]) -> None:
        ends = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < ends, "the awaited answer never came"
            time.sleep(PAUSE)

    def until_answered(self, but: str | None = None) -> str:
        """Who answers, as soon as it is not `but`."""
        self.until(lambda: bool(self.answers) and self.answers[-1][1] != but)
        return self.answers[-1][1]

    def first(self, who: str) -> float:
        return min(at for at, other in self.answers if other == who)

    def gap(self, old: str, new: str) -> float:
        """Seconds between the last answer of one and the first of the other."""
        return self.first(new) - max(at for at, who in self.answers if who == old)

    def first_after(self, moment: float) -> float:
        """When somebody answered first after a moment."""
        self.until(lambda: bool(self.answers) and self.answers[-1][0] > moment)
        return next(at for at, _ in self.answers if at > moment)


@contextmanager
def asking(ask: Callable[[], str | None]) -> Iterator[Asking]:
    client = Asking(ask)
    thread = threading.Thread(target=client.run, name="client", daemon=True)
    thread.start()
    try:
        yield client
    finally:
        client.over.set()
        thread.join()


def boot_at(host: str, port: int) -> str | None:
    """Which start of the clerk answers its health there, None where none is ready."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return str(json.loads(answer.read())["boot"]) if answer.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class ByHand:
    """`gap`: what a client saw of a stop and a start; `start`: from the start until it was ready."""

    gap: float
    start: float


def by_hand(spec: Spec, state: Path) -> ByHand:
    """The process of `spec` on a copy of `state`: it serves, is stopped and started again, as a person would."""
    other = state.with_name("state-by-hand")
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(state, other)
    ports = [free_port(), free_port()]
    now = [ports[0]]
    began: list[subprocess.Popen[bytes]] = [_start(spec, ports[0], state, other)]
    try:
        with asking(lambda: boot_at("127.0.0.1", now[0])) as client:
            old = client.until_answered()
            client.until(lambda: len(client.answers) > 10)
            began[0].send_signal(signal.SIGTERM)
            began[0].wait(SECONDS)
            now[0], at = ports[1], time.time()
            began.append(_start(spec, ports[1], state, other))
            new = client.until_answered(but=old)
        return ByHand(client.gap(old, new), client.first(new) - at)
    finally:
        for one in began:
            one.kill()
            one.wait()
        shutil.rmtree(other, ignore_errors=True)


def _start(spec: Spec, port: int, state: Path, other: Path) -> "subprocess.Popen[bytes]":
    values = {"port": str(port)}
    argv = [word.replace(str(state), str(other)) for word in fill_all(spec.argv, values)]
    env = {name: fill(value, values) for name, value in spec.env.items()}
    return subprocess.Popen(argv, env=env, cwd=spec.cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
