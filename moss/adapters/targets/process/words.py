"""Owns what the supervisor is asked, what it answers and what it remembers. No logic, no I/O."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from moss.adapters.targets.version import Version as Version
from moss.domain.frozen import Frozen
from moss.domain.ids import Digest


class Restart(StrEnum):
    """Whether an agent that ended is started again. `no` during a swap: then only the controller decides."""

    ALWAYS = "always"
    NO = "no"


class Spec(Frozen):
    """How one version is started. Words and values may hold `{port}`, filled in at each start."""

    version: Version
    argv: tuple[str, ...] = Field(min_length=1)
    env: dict[str, str]
    cwd: Path
    grace_seconds: float = Field(gt=0)


class Agent(Frozen):
    """One start. Written before the process is made (`pid` None), again with its pid.

    `born` is the kernel's start time of the pid: with `machine_boot` it tells a process from a later one.
    """

    boot: str
    version: Version
    port: int
    pid: int | None = None
    born: int | None = None
    machine_boot: str
    at: datetime


class Ended(Frozen):
    """How the last start ended. `code` as a shell would say; None: it ended while no supervisor watched."""

    boot: str
    version: Version
    code: int | None
    at: datetime


class Record(Frozen):
    """All that the supervisor knows, one small file."""

    spec: Spec | None = None
    restart: Restart = Restart.NO
    agent: Agent | None = None
    ended: Ended | None = None


class StartNow(Frozen):
    kind: Literal["start"] = "start"
    spec: Spec
    restart: Restart


class StopNow(Frozen):
    """`expected`: the version that may be stopped; None: whatever runs."""

    kind: Literal["stop"] = "stop"
    expected: Digest | None


class SetRestart(Frozen):
    kind: Literal["restart"] = "restart"
    restart: Restart


class AskStatus(Frozen):
    kind: Literal["status"] = "status"


class Quit(Frozen):
    """The supervisor ends; the agent goes on and is taken over by the next one."""

    kind: Literal["quit"] = "quit"


Request = Annotated[StartNow | StopNow | SetRestart | AskStatus | Quit, Field(discriminator="kind")]
REQUEST: TypeAdapter[Request] = TypeAdapter(Request)


class StatusSays(Frozen):
    """The answer to every request. `record.agent` is None or alive at this moment."""

    pid: int
    record: Record
