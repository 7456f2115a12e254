"""Owns the time of tests: a clock that moves only when told. Never reads the machine's clock."""

from datetime import UTC, datetime, timedelta


class ManualClock:
    """`moss.ports.Clock` in a test's hand. `jump` moves the wall alone, as an operator or NTP would."""

    def __init__(self, start: datetime = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)) -> None:
        self._wall = start
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def tick(self, seconds: float) -> None:
        """Time goes by on both clocks."""
        self._wall += timedelta(seconds=seconds)
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """The wall clock is set; no time goes by."""
        self._wall += timedelta(seconds=seconds)
