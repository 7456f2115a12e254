"""Owns starting and stopping the gateway's process. Never what happens in it.

Both are idempotent. Invariant: the process gets the environment it needs and nothing else of this one's.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from moss.errors import GatewayDown, GatewayError
from moss.gateway.client import HttpGateway
from moss.gateway.config import GatewayConfig, save_config
from moss.gateway.home import GIVES_UP, LOCKED, GatewayHome, GatewayState

START_SECONDS = 20.0
STOP_SECONDS = 12.0
LOOK_SECONDS = 0.05
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
LOG_LIMIT = 16 << 20


def start(home: Path, config: GatewayConfig, environ: Mapping[str, str]) -> HttpGateway:
    """A gateway that answers: the one that runs (it takes up `config`), or a new one.

    `environ` must hold the variables that the upstreams' keys name. Raises: GatewayDown.
    """
    place, gateway = GatewayHome(home.absolute()), HttpGateway(home)
    place.make()
    save_config(place.config, config)
    if gateway.boot() is not None:
        gateway.reload()
        return gateway
    said_before = _spawn(place, environment(config, environ))
    deadline = time.monotonic() + START_SECONDS
    while gateway.boot() is None:
        last_words = _last_words(place.log, said_before)
        if last_words or time.monotonic() > deadline:
            raise GatewayDown(f"the gateway did not start: {last_words or 'it does not answer'} (see {place.log})")
        time.sleep(LOOK_SECONDS)
    return gateway


def stop(home: Path) -> None:
    """Ends the gateway of a home: asked first, then by signals. None running is silent. Raises: GatewayDown."""
    place = GatewayHome(home)
    process = process_of(place)
    with suppress(GatewayDown, GatewayError):
        HttpGateway(home, seconds=5.0).stop()
    if process is None:
        return
    with suppress(psutil.NoSuchProcess):
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                process.send_signal(number)
            with suppress(psutil.TimeoutExpired):
                process.wait(STOP_SECONDS)
                return
    if process.is_running():
        raise GatewayDown(f"the gateway (pid {process.pid}) does not end")


def process_of(place: GatewayHome) -> psutil.Process | None:
    """The process that `state.json` names, if it is still that one and not a later one with its number."""
    try:
        state = GatewayState.model_validate_json(place.state.read_bytes())
        process = psutil.Process(state.pid)
        return process if abs(process.create_time() - state.born) < 1.0 else None
    except (OSError, ValueError, psutil.Error):
        return None


def environment(config: GatewayConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """What the process gets: how to run, and the keys that the configuration names."""
    keys = [upstream.key.env for upstream in config.upstreams if upstream.key and upstream.key.env]
    return {name: environ[name] for name in (*PASSED_ON, *keys) if name in environ}


def command(place: GatewayHome) -> tuple[str, ...]:
    argv = (sys.executable, "-m", "moss.gateway", "--home", str(place.home), "--config", str(place.config))
    return (*argv, "--detach")


def _spawn(place: GatewayHome, env: Mapping[str, str]) -> int:
    """Starts it detached; how long its log was before."""
    fresh = not place.log.exists() or place.log.stat().st_size > LOG_LIMIT
    with place.log.open("wb" if fresh else "ab") as log:
        place.log.chmod(0o600)
        said_before = log.tell()
        subprocess.run(
            command(place), env=dict(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=False
        )
    return said_before


def _last_words(log: Path, after: int) -> str:
    """Why the process gave up, if it did. That another one was faster is no reason: that one will answer."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(after)
        said = [line for line in file.read().decode(errors="replace").splitlines() if line.startswith(GIVES_UP)]
        return "" if any(LOCKED in line for line in said) else "".join(said[-1:])[len(GIVES_UP) :][:500]
    return ""
