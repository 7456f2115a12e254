"""Owns starting and ending the hold proxy as a process of its own. Both are idempotent.

How it was started is kept in its folder until it is told to end, so that whoever finds it dead can start it again.
"""

import json
import time
from pathlib import Path

from moss.daemon import detach, durable, lock
from moss.errors import TargetDown
from moss.files import write_durably
from moss.hold.client import HoldClient
from moss.hold.options import HoldOptions, to_argv

START_SECONDS = 20.0
END_SECONDS = 10.0


def start(options: HoldOptions) -> bool:
    """The proxy serves `options.folder` when this returns; whether it was started now.

    Raises: TargetDown when it does not get ready: its port is taken, or its folder cannot be written.
    """
    durable.private_folder(options.folder)
    write_durably(_kept(options.folder), json.dumps(to_argv(options)).encode())
    fresh = detach.launch(to_argv(options), options.log, START_SECONDS)
    if not fresh:
        _wait_until_it_answers(HoldClient(options.folder))
    return fresh


def revive(folder: Path) -> bool:
    """A proxy that was started and has died is started again, as it was; whether there was need to.

    Raises: TargetDown when it does not get ready.
    """
    kept = durable.read(_kept(folder))
    if kept is None or not lock.is_free(folder / "proxy.lock"):
        return False
    return detach.launch(json.loads(kept), folder / "proxy.log", START_SECONDS)


def stop(options: HoldOptions) -> None:
    """It has ended when this returns. Not running is silent. Raises: TargetDown when it does not end."""
    durable.remove(_kept(options.folder))
    ends = time.monotonic() + END_SECONDS
    asked = False
    while not lock.is_free(options.lock):
        if not asked:
            asked = _ask_to_quit(options)
        if time.monotonic() > ends:
            raise TargetDown(f"the hold proxy of {options.folder} does not end")
        time.sleep(0.02)


def _kept(folder: Path) -> Path:
    return folder / "started.json"


def _ask_to_quit(options: HoldOptions) -> bool:
    try:
        HoldClient(options.folder).quit()
    except TargetDown:
        return False
    return True


def _wait_until_it_answers(client: HoldClient) -> None:
    """Another starter was first: its proxy has the lock, and answers in a moment."""
    ends = time.monotonic() + START_SECONDS
    while True:
        try:
            client.status()
        except TargetDown:
            if time.monotonic() > ends:
                raise
            time.sleep(0.02)
        else:
            return
