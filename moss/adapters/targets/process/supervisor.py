"""`python -m moss.adapters.targets.process.supervisor --dir DIR --hold DIR`: the live agent's supervisor.

Owns the process around the ward: lock, control socket, the steady look at the agent and at its front door (a hold
proxy that died is started again). It survives the controller, and the agent survives it: a new one takes it over.
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import assert_never

from moss.adapters.targets.process.home import SupervisorHome
from moss.adapters.targets.process.ward import Ward
from moss.adapters.targets.process.words import (
    REQUEST,
    AskStatus,
    Quit,
    Request,
    SetRestart,
    StartNow,
    StatusSays,
    StopNow,
)
from moss.daemon import detach, durable, lines, lock
from moss.daemon.machine import boot_id
from moss.errors import MossError
from moss.hold import launch
from moss.hold.client import HoldClient

LOOK_SECONDS = 0.1
AFTER_FAILURE_SECONDS = 1.0


class Supervisor:
    """Answers requests, each in a thread of its own, until it is told to quit."""

    def __init__(self, ward: Ward, hold: Path) -> None:
        self._ward, self._hold = ward, hold
        self.ends = threading.Event()

    def serve(self, listening: socket.socket) -> None:
        """Until `ends`; looks after the agent and its front door meanwhile."""
        listening.settimeout(LOOK_SECONDS)
        looks: tuple[Callable[[], object], ...] = (self._ward.tend, lambda: launch.revive(self._hold))
        for look in looks:
            threading.Thread(target=self._steadily, args=(look,), daemon=True).start()
        while not self.ends.is_set():
            with contextlib.suppress(TimeoutError):
                peer, _ = listening.accept()
                peer.settimeout(LOOK_SECONDS * 50)
                threading.Thread(target=self._answer, args=(peer,), name="answer", daemon=True).start()

    def act(self, request: Request) -> StatusSays:
        """Raises: NotExpected."""
        match request:
            case StartNow(spec=spec, restart=restart):
                self._ward.start(spec, restart)
            case StopNow(expected=expected):
                self._ward.stop(expected)
            case SetRestart(restart=restart):
                self._ward.set_restart(restart)
            case AskStatus():
                pass
            case Quit():
                self.ends.set()
            case _ as never:
                assert_never(never)
        return StatusSays(pid=os.getpid(), record=self._ward.record)

    def _answer(self, peer: socket.socket) -> None:
        with peer:
            lines.answer(peer, lambda line: self.act(REQUEST.validate_json(line)).model_dump_json().encode())

    def _steadily(self, look: Callable[[], object]) -> None:
        while not self.ends.wait(LOOK_SECONDS):
            try:
                look()
            except (MossError, OSError) as error:
                print(f"moss supervisor: {error}", file=sys.stderr, flush=True)
                self.ends.wait(AFTER_FAILURE_SECONDS)


def main(argv: Sequence[str]) -> int:
    """0 when it was told to quit, 75 when one of its kind serves this folder already."""
    parser = argparse.ArgumentParser("python -m moss.adapters.targets.process.supervisor")
    parser.add_argument("--dir", type=Path, required=True, help="its own folder: control socket, state, logs")
    parser.add_argument("--hold", type=Path, required=True, help="the hold proxy's folder")
    parser.add_argument("--detach", action="store_true", help="go on as a process of its own once it is ready")
    words = parser.parse_args(argv)
    home = SupervisorHome(durable.private_folder(words.dir.absolute()))
    held = lock.take(home.lock)
    if held is None:
        return detach.TAKEN
    ready = detach.detach(home.log) if words.detach else _nobody_waits
    try:
        return _supervise(home, words.hold.absolute(), ready)
    finally:
        os.close(held)


def _supervise(home: SupervisorHome, hold: Path, ready: Callable[[], None]) -> int:
    try:
        durable.private_folder(home.tmp)
        supervisor = Supervisor(Ward(home, boot_id(), HoldClient(hold).backend), hold)
        listening = lines.listen(home.control)
    except (MossError, OSError) as error:
        print(f"moss supervisor: {error}", file=sys.stderr, flush=True)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.ends.set())
    with listening:
        ready()
        supervisor.serve(listening)
    return 0


def _nobody_waits() -> None:
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
