"""How a user message is sent. The docstrings are the contract (see `moss.ports`)."""

from dataclasses import dataclass
from typing import Protocol

from moss.domain.trial import Answer
from moss.ports.boxes import Box
from moss.ports.target import Probe


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent is reached: over HTTP at `host:port`, or inside `box` for exec turns."""

    host: str = "127.0.0.1"
    port: int = 0
    box: Box | None = None


class TurnDriver(Protocol):
    """Sends one user message the way the substrate's users do."""

    def send(self, place: Place, session: str, message: str, seconds: float) -> Answer:
        """Never raises for what the agent does: no answer is `Answer.error`. Raises: BoxLost."""

    def health(self, place: Place) -> Probe:
        """One look at the agent's health route: ready, starting (not listening, 503), failed."""
