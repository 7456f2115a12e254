"""Owns the words in which a test scripts an in-memory agent: how a version behaves, what a client sent."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Conduct:
    """How a version behaves. Probes and messages are counted from each start."""

    ready_after: int | None = 0
    """probes that say `starting` before `ready`; None: never ready"""
    exits_after: int | None = None
    """probes after which it is gone (0: gone at the first look)"""
    exits_after_ready: int | None = None
    """probes that say `ready` after which it is gone: the watch sees it"""
    dies_under: int | None = None
    """the message (1 the first, a canary counts) under which it dies without an answer"""
    health_fails: bool = False
    answers: bool = True
    """False: healthy, but every message is answered 500"""
    asks: str | None = None
    """what it asks the model in place of the user's message"""
    migrates: bool = False
    """changes the state so that no other version gets ready on it"""
    exit_code: int = 1


@dataclass(slots=True)
class Sent:
    """One message of a client. `status` is None while it waits and when the agent died under it."""

    text: str
    session: str | None
    status: int | None = None
    waiting: bool = False

    @property
    def answered(self) -> bool:
        return self.status == 200
