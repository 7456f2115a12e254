"""Owns starting and stopping the gateway's process. Never what happens in it.

Both are idempotent. Invariant: the process gets the environment it needs and nothing else of this one's.
"""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from moss.daemon import detach, lock
from moss.errors import GatewayDown, GatewayError, TargetDown
from moss.gateway.client import HttpGateway
from moss.gateway.config import GatewayConfig, save_config
from moss.gateway.home import GatewayHome

START_SECONDS = 30.0
STOP_SECONDS = 15.0
LOOK_SECONDS = 0.02
PASSED_ON = ("SSL_CERT_FILE", "SSL_CERT_DIR", "TZ")
LOG_LIMIT = 16 << 20


def start(home: Path, config: GatewayConfig, environ: Mapping[str, str]) -> bool:
    """A gateway answers when this returns; whether it was started now. One that runs takes up `config`.

    `environ` must hold the variables that the upstreams' keys name. Raises: GatewayDown.
    """
    place, control = GatewayHome(home.absolute()), HttpGateway(home)
    place.make()
    save_config(place.config, config)
    if control.boot() is not None:
        control.reload()
        return False
    if place.log.exists() and place.log.stat().st_size > LOG_LIMIT:
        place.log.replace(place.log.with_suffix(".log.1"))
    try:
        fresh = detach.launch(command(place), place.log, START_SECONDS, environment(config, environ))
    except TargetDown as error:
        raise GatewayDown(f"the gateway {error}") from None
    if not fresh:
        # another starter was first: it answers in a moment
        _wait_until(lambda: control.boot() is not None, "does not answer", START_SECONDS)
    return fresh


def stop(home: Path) -> None:
    """It has ended when this returns: asked, then killed. Not running is silent. Raises: GatewayDown."""
    place = GatewayHome(home.absolute())
    if lock.is_free(place.lock):
        return
    with suppress(GatewayDown, GatewayError):
        HttpGateway(home, seconds=5.0).stop()
    with suppress(GatewayDown):
        _wait_until(lambda: lock.is_free(place.lock), "does not end", STOP_SECONDS)
        return
    for pid in lock.holders(place.lock):
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
    _wait_until(lambda: lock.is_free(place.lock), "does not end", STOP_SECONDS)


def environment(config: GatewayConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """What the process gets beside what every program gets: the keys that the configuration names."""
    keys = [upstream.key.env for upstream in config.upstreams if upstream.key and upstream.key.env]
    return {name: environ[name] for name in (*PASSED_ON, *keys) if name in environ}


def command(place: GatewayHome) -> tuple[str, ...]:
    argv = (sys.executable, "-m", "moss.gateway", "--home", str(place.home), "--config", str(place.config))
    return (*argv, "--detach")


def _wait_until(holds: Callable[[], bool], problem: str, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > ends:
            raise GatewayDown(f"the gateway {problem} within {seconds:g} s")
        time.sleep(LOOK_SECONDS)
