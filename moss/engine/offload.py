"""Owns the one bounded thread pool through which the async engine calls the synchronous ports.

Never makes a thread beside the pool. Invariant: a call sees the contextvars of the task that made it (so log
lines keep their run, stage and key), and at most `size` port calls run at the same time.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

SIZE = 16


class Offload:
    """A bounded pool. Threads start when needed. `await pool(port.method, argument)`."""

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self._pool = ThreadPoolExecutor(max_workers=size, thread_name_prefix="port")

    async def __call__(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """What `call(*args, **kwargs)` gives, run in the pool. A cancelled task stops waiting; its call runs to
        the end, which is safe because ports are idempotent by key and block for bounded times only."""
        context = contextvars.copy_context()
        work = partial(context.run, call, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Waits for running calls; calls that did not start are dropped. Idempotent."""
        self._pool.shutdown(wait=True, cancel_futures=True)


_shared: Offload | None = None


def shared() -> Offload:
    """The process's own pool, made at first use."""
    global _shared
    if _shared is None:
        _shared = Offload()
    return _shared


def resize(size: int) -> None:
    """Gives the process a pool of `size` threads in place of the one it has, whose calls end first."""
    install(Offload(size))


def install(pool: Offload) -> None:
    """Gives the process `pool` in place of the one it has, whose calls end first."""
    global _shared
    if _shared is not None:
        _shared.close()
    _shared = pool


async def offload(call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """`call` in the process's own pool."""
    return await shared()(call, *args, **kwargs)


async def to_its_end(call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """As `offload`, for work on MOSS's own folders: a cancelled task waits until the call has ended, so that nobody
    who takes over finds a thread of it still writing or dropping files."""
    working = asyncio.ensure_future(offload(call, *args, **kwargs))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        while not working.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({working})
        with contextlib.suppress(Exception):
            working.exception()
        raise
