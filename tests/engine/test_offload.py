"""The pool through which the engine calls ports."""

import asyncio
import contextvars
import threading

import pytest

from moss.engine.offload import Offload, offload, resize, shared

stage: contextvars.ContextVar[str] = contextvars.ContextVar("stage", default="none")


async def test_a_call_sees_the_contextvars_of_its_task() -> None:
    async def ask(name: str) -> str:
        stage.set(name)
        return await offload(stage.get)

    assert await asyncio.gather(ask("plan"), ask("trial")) == ["plan", "trial"]
    assert stage.get() == "none"


async def test_no_more_calls_run_at_once_than_the_pool_has_threads() -> None:
    pool = Offload(size=2)
    lock, gate, seen = threading.Lock(), threading.Semaphore(0), []
    full = threading.Event()
    running = 0

    def work() -> None:
        nonlocal running
        with lock:
            running += 1
            seen.append(running)
            if running == 2:
                full.set()
        gate.acquire(timeout=5)
        with lock:
            running -= 1

    async def all_of_them() -> None:
        await asyncio.gather(*(pool(work) for _ in range(6)))

    task = asyncio.create_task(all_of_them())
    assert await asyncio.to_thread(full.wait, 5)
    for _ in range(6):
        gate.release()
    await task
    pool.close()
    assert max(seen) == 2


async def test_an_error_of_the_call_is_the_error_of_the_await() -> None:
    def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await offload(fail)


async def test_keyword_arguments_reach_the_call() -> None:
    def join(left: str, *, right: str) -> str:
        return left + right

    assert await offload(join, "a", right="b") == "ab"


async def test_resize_gives_a_pool_of_that_size() -> None:
    before = shared()
    resize(3)
    try:
        assert shared() is not before
        assert shared().size == 3
        assert await offload(lambda: 7) == 7
    finally:
        resize(16)
