"""Owns a notifier for tests: it keeps what it was sent, and refuses as often as it is told. Never a network."""

from moss.errors import NotifyError
from moss.ports import Notice


class MemoryNotifier:
    """Takes notices into `sent`; refuses the first `refusals` of them."""

    def __init__(self, name: str = "memory", refusals: int = 0) -> None:
        self.name = name
        self.refusals = refusals
        self.sent: list[Notice] = []
        self.attempts = 0

    def send(self, notice: Notice) -> None:
        self.attempts += 1
        if self.refusals > 0:
            self.refusals -= 1
            raise NotifyError("told to refuse")
        self.sent.append(notice)
