"""`python -m moss.hold --dir DIR --listen HOST:PORT [--backend HOST:PORT]`: the hold proxy."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence

from moss.daemon import detach, durable, lock
from moss.hold.options import Command, from_argv


def main(argv: Sequence[str]) -> int:
    """0 when it was told to end, 75 when one of its kind serves this folder already, 1 when its port is taken."""
    command = from_argv(argv)
    durable.private_folder(command.options.folder)
    held = lock.take(command.options.lock)
    if held is None:
        return detach.TAKEN
    ready = detach.detach(command.options.log) if command.detach else _nobody_waits
    try:
        return _serve(command, ready)
    finally:
        os.close(held)


def _serve(command: Command, ready: Callable[[], None]) -> int:
    try:
        asyncio.run(_until_told(command, ready))
    except OSError as error:
        print(f"moss hold: {error}", file=sys.stderr)
        return 1
    return 0


async def _until_told(command: Command, ready: Callable[[], None]) -> None:
    # Imported after the fork: what it brings may start threads, and they do not survive one.
    from moss.hold.server import serve

    serving = asyncio.ensure_future(serve(command, ready))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def _nobody_waits() -> None:
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
