"""Owns the relay: one play of a story in which a process is killed at every moment, and no moment is played to twice.

At a moment the process that has played so far makes a twin of itself (`os.fork`) and is killed there with SIGKILL. The
supervisor sees it dead and lends out a copy of what it left, at the very path; then the home itself comes back and the
twin plays on in it. So what was left by a kill at every moment costs one play instead of one for each. Not as in
production: the twin has one thread, so port calls run in the loop's own (`Inline`), and it inherits the store's
connections, which nobody else has open. What restarts from a copy has no part in this. Invariant: no twin outlives its
supervisor.
"""

import asyncio
import contextvars
import ctypes
import os
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from moss.engine.offload import Offload, install

P = ParamSpec("P")
R = TypeVar("R")

PR_SET_CHILD_SUBREAPER = 36


class Inline(Offload):
    """A pool without threads: each call runs where it is awaited, after the other tasks had their turn."""

    async def __call__(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        await asyncio.sleep(0)
        return contextvars.copy_context().run(call, *args, **kwargs)


class Baton:
    """Counts moments, as a fuse does; at those that are `wanted` the process dies, and its twin goes on. `stood`: the
    seconds that it waited for that so far, which clocks of the story leave out."""

    def __init__(self, wanted: Callable[[int], bool], telling: int, going: int) -> None:
        self.moments: list[str] = []
        self.stood = 0.0
        self._wanted, self._telling, self._going = wanted, telling, going

    def pass_(self, name: str) -> None:
        self.moments.append(name)
        if not self._wanted(len(self.moments)):
            return
        began = time.monotonic()
        loop, old = asyncio.get_running_loop(), os.getpid()
        if os.fork():
            os.kill(old, signal.SIGKILL)
        # asyncio takes the running loop of another process for none; and its sleeps are none while the process stands
        asyncio._set_running_loop(loop)
        setattr(loop, "time", self._time)  # noqa: B010
        os.write(self._telling, f"{old} {os.getpid()} {len(self.moments)} {self.stood} {name}\n".encode())
        if not os.read(self._going, 1):
            os._exit(1)
        self.stood += time.monotonic() - began

    def _time(self) -> float:
        return time.monotonic() - self.stood


@dataclass(frozen=True, slots=True)
class Left:
    """What a kill left: the moment's number and name, and the seconds that the process had stood before it."""

    number: int
    name: str
    stood: float


def relay(play: Callable[[Path, Baton], object], home: Path, wanted: Callable[[int], bool]) -> Iterator[Left]:
    """Plays on in `home` to the end. At each moment that is `wanted`: what was left, while `home` is a copy of
    the home of the process that was killed there. Raises: AssertionError when one was not killed, or the play fails."""
    _adopt()
    telling, going = os.pipe(), os.pipe()
    alive = os.fork()
    if alive == 0:
        os.close(telling[0])
        os.close(going[1])
        os._exit(_play(play, home, Baton(wanted, telling[1], going[0])))
    os.close(telling[1])
    os.close(going[0])
    with os.fdopen(telling[0]) as told, os.fdopen(going[1], "wb", buffering=0) as go:
        for line in told:
            old, twin, number, stood, name = line.rstrip("\n").split(" ", 4)
            _, status = os.waitpid(int(old), 0)
            assert os.WIFSIGNALED(status), f"not killed {name}"
            assert os.WTERMSIG(status) == signal.SIGKILL, f"killed otherwise {name}"
            alive = int(twin)
            aside = home.with_name(f"{home.name}.aside")
            home.rename(aside)
            shutil.copytree(aside, home, symlinks=True)
            yield Left(int(number), name, float(stood))
            shutil.rmtree(home)
            aside.rename(home)
            go.write(b"g")
        _, status = os.waitpid(alive, 0)
        assert status == 0, f"the play failed with status {status}"


def _play(play: Callable[[Path, Baton], object], home: Path, baton: Baton) -> int:
    install(Inline(1))
    try:
        play(home, baton)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _adopt() -> None:
    """Children of a child that died become this process's own, so that it sees how they end: prctl(2)."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
