"""The clock. Time comes in from outside. The docstrings are the contract (see `moss.ports`)."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time comes in from outside, so tests own it."""

    def now(self) -> datetime:
        """Wall time, UTC, aware. May jump; never used to measure a duration."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
