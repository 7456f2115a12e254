"""Owns the gateway's command line: `python -m moss.gateway --home HOME --config FILE [--detach]`.

Detached, the process leaves its starter's session before anything else is loaded, so that it survives the controller.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m moss.gateway")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--detach", action="store_true")
    said = parser.parse_args()
    if said.detach:
        if os.fork():
            # not sys.exit: the starter's half has nothing to tidy up
            os._exit(0)
        os.setsid()
    os.umask(0o077)
    return asyncio.run(_run(said.home.absolute(), said.config.absolute()))


async def _run(home: Path, config: Path) -> int:
    from moss.errors import MossError
    from moss.gateway.config import load_config
    from moss.gateway.home import GIVES_UP, GatewayHome
    from moss.gateway.running import Gateway

    try:
        gateway = Gateway(GatewayHome(home), load_config(config), os.environ)
    except MossError as error:
        print(f"{GIVES_UP}{error}", file=sys.stderr)
        return 2
    try:
        await gateway.start()
        await gateway.until_stopped()
    except MossError as error:
        print(f"{GIVES_UP}{error}", file=sys.stderr)
        return 2
    finally:
        await gateway.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
