"""`python -m moss.gateway --home HOME --config FILE [--detach]`: the gateway's process.

Detached, it is a process of its own before anything heavy is loaded, so that it survives the controller.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from moss.daemon import detach, lock
from moss.gateway.home import GatewayHome


def main(argv: Sequence[str]) -> int:
    """0 when it was told to end, 75 when a gateway of this home runs, 2 for what a person must mend."""
    parser = argparse.ArgumentParser(prog="python -m moss.gateway", description="The model gateway.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--detach", action="store_true")
    said = parser.parse_args(argv)
    home = GatewayHome(said.home.absolute())
    os.umask(0o077)
    home.make()
    # never closed: the lock is free only once the process is gone
    if lock.take(home.lock) is None:
        return detach.TAKEN
    config = said.config.absolute()
    ready = detach.detach(home.log) if said.detach else _nobody_waits
    return asyncio.run(_run(home, config, ready))


async def _run(home: GatewayHome, config: Path, ready: Callable[[], None]) -> int:
    # imported after the fork: what it brings may start threads, and they do not survive one
    from moss.errors import MossError
    from moss.gateway.config import load_config
    from moss.gateway.logs import log_as_lines
    from moss.gateway.redaction import redact_of
    from moss.gateway.running import Gateway

    log_as_lines()
    try:
        told = load_config(config)
        gateway = Gateway(home, told, os.environ, redact_of(home, told))
        try:
            await gateway.start()
            ready()
            await gateway.until_stopped()
        finally:
            await gateway.close()
    except MossError as error:
        print(f"moss gateway: {error}", file=sys.stderr)
        return 2
    return 0


def _nobody_waits() -> None:
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
