"""Owns starting and ending the hold proxy as a process of its own. Both are idempotent."""

import time

from moss.daemon import detach, durable, lock
from moss.errors import TargetDown
from moss.hold.client import HoldClient
from moss.hold.options import HoldOptions, to_argv

START_SECONDS = 20.0
END_SECONDS = 10.0


def start(options: HoldOptions) -> bool:
    """The proxy serves `options.folder` when this returns; whether it was started now.

    Raises: TargetDown when it does not get ready: its port is taken, or its folder cannot be written.
    """
    durable.private_folder(options.folder)
    fresh = detach.launch(to_argv(options), options.log, START_SECONDS)
    if not fresh:
        _wait_until_it_answers(HoldClient(options.folder))
    return fresh


def stop(options: HoldOptions) -> None:
    """It has ended when this returns. Not running is silent. Raises: TargetDown when it does not end."""
    ends = time.monotonic() + END_SECONDS
    asked = False
    while not lock.is_free(options.lock):
        if not asked:
            asked = _ask_to_quit(options)
        if time.monotonic() > ends:
            raise TargetDown(f"the hold proxy of {options.folder} does not end")
        time.sleep(0.02)


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
