"""Owns the other side of the proxy's control socket: what the controller and the supervisor ask. Synchronous.

Every method raises TargetDown when the proxy does not answer, TargetError when another swap holds it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from moss.daemon import lines
from moss.domain.frozen import Frozen
from moss.domain.ids import Key
from moss.errors import TargetDown
from moss.hold.words import (
    AnsweredLine,
    AnsweredSays,
    AskAnswered,
    AskStatus,
    Backend,
    Done,
    HeldSays,
    HoldNow,
    Quit,
    ReleasedSays,
    ReleaseNow,
    SetBackend,
    SettleNow,
    StatusSays,
)

SECONDS = 5.0
"""how long an answer may take that waits for nothing"""


Says = TypeVar("Says", bound=BaseModel)


class HoldClient:
    """Asks the proxy that serves `folder`."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "control.sock"

    def backend(self, backend: Backend | None) -> None:
        """From now on new messages go there."""
        self._ask(SetBackend(backend=backend), Done)

    def hold(self, key: Key, drain_seconds: float, deadline_seconds: float, waiting: int) -> HeldSays:
        """New messages wait; comes back when turns in flight ended or `drain_seconds` are over. Repeated under the
        same key the first one's deadline stays."""
        asked = HoldNow(key=key, drain_seconds=drain_seconds, deadline_seconds=deadline_seconds, waiting=waiting)
        return self._ask(asked, HeldSays, drain_seconds)

    def release(self, key: Key) -> ReleasedSays:
        """Those who wait are let in. Repeated it says the same; without a hold of this key nothing happens."""
        return self._ask(ReleaseNow(key=key), ReleasedSays)

    def settle(self, key: Key) -> None:
        """The answered log of this swap ends and is dropped."""
        self._ask(SettleNow(key=key), Done)

    def answered(self, key: Key) -> Sequence[AnsweredLine]:
        """What the agent answered since the release of this swap."""
        return self._ask(AskAnswered(key=key), AnsweredSays).lines

    def status(self, seconds: float = SECONDS) -> StatusSays:
        return self._ask(AskStatus(), StatusSays, seconds - SECONDS)

    def quit(self) -> None:
        """Tells it to end."""
        self._ask(Quit(), Done)

    def _ask(self, request: Frozen, says: type[Says], longer: float = 0.0) -> Says:
        answer = lines.ask(self._socket, request.model_dump_json().encode(), SECONDS + longer)
        try:
            return says.model_validate_json(answer)
        except ValidationError as error:
            raise TargetDown(f"{self._socket}: another version answers; restart the hold proxy") from error
