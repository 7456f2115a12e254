"""Owns the other side of the supervisor's control socket, and starting and ending the supervisor. Synchronous."""

import sys
import time
from pathlib import Path

from pydantic import ValidationError

from moss.adapters.targets.process.home import SupervisorHome
from moss.adapters.targets.process.words import (
    AskStatus,
    Quit,
    Record,
    Request,
    Restart,
    SetRestart,
    Spec,
    StartNow,
    StatusSays,
    StopNow,
)
from moss.daemon import detach, durable, lines, lock
from moss.domain.ids import Digest
from moss.errors import TargetDown

SECONDS = 10.0
"""how long an answer may take that waits for nothing"""
STATUS_SECONDS = 1.0
START_SECONDS = 20.0


class SupervisorClient:
    """Asks the supervisor of `home`. A supervisor that is away is started first: it takes over what runs.

    Every method raises TargetDown when that does not help.
    """

    def __init__(self, home: SupervisorHome, hold: Path) -> None:
        self._home, self._hold = home, hold

    def start(self, spec: Spec, restart: Restart) -> Record:
        """Raises: NotExpected when another version runs."""
        return self._ask(StartNow(spec=spec, restart=restart), SECONDS)

    def stop(self, expected: Digest | None, grace: float) -> Record:
        """`grace`: how long the agent may take. Raises: NotExpected when another version runs."""
        return self._ask(StopNow(expected=expected), SECONDS + grace)

    def set_restart(self, restart: Restart) -> Record:
        return self._ask(SetRestart(restart=restart), SECONDS)

    def status(self) -> Record:
        return self._ask(AskStatus(), STATUS_SECONDS)

    def launch(self) -> bool:
        """The supervisor answers when this returns; whether it was started now."""
        durable.private_folder(self._home.folder)
        argv = [sys.executable, "-m", "moss.adapters.targets.process.supervisor", "--dir", str(self._home.folder)]
        return detach.launch([*argv, "--hold", str(self._hold), "--detach"], self._home.log, START_SECONDS)

    def quit(self) -> None:
        """The supervisor has ended when this returns; the agent goes on. Not running is silent."""
        ends = time.monotonic() + SECONDS
        while not lock.is_free(self._home.lock):
            try:
                self._asked_once(Quit(), SECONDS)
            except TargetDown:
                if time.monotonic() > ends:
                    raise
            time.sleep(0.02)

    def _ask(self, request: Request, seconds: float) -> Record:
        try:
            return self._asked_once(request, seconds)
        except TargetDown:
            if not lock.is_free(self._home.lock):
                return self._asked_once(request, seconds)
            self.launch()
            return self._asked_once(request, seconds)

    def _asked_once(self, request: Request, seconds: float) -> Record:
        answer = lines.ask(self._home.control, request.model_dump_json().encode(), seconds)
        try:
            return StatusSays.model_validate_json(answer).record
        except ValidationError as error:
            raise TargetDown(f"{self._home.control}: another version answers; restart the supervisor") from error
