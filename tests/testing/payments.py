"""A story of three payments, small enough to count its kills. Run as a program: `python payments.py WHAT FOLDER` prints
one JSON value. It is a program because what forks must have one thread.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from moss.engine.offload import offload, resize
from moss.testing.crash import Passing, Story, Watched, attack
from moss.testing.relay import relay

NAMES = ("rent", "light", "water")


class Payer:
    """Writes down who was paid, and by which process; a note beside it says that it was done."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def pay(self, name: str) -> None:
        with (self._home / "paid").open("a") as file:
            file.write(f"{name} {os.getpid()}\n")

    def note(self, name: str) -> None:
        (self._home / f"{name}.done").touch()


def paid(home: Path) -> list[list[str]]:
    """Name and process, in order."""
    place = home / "paid"
    return [line.split() for line in place.read_text().splitlines()] if place.exists() else []


def story(*, careful: bool) -> Story:
    """The careful one looks into its book before it pays; the careless one trusts its notes."""

    async def live(home: Path, payer: Any) -> None:
        for name in NAMES:
            done = (home / f"{name}.done").exists() or (careful and name in [one for one, _ in paid(home)])
            if not done:
                await offload(payer.pay, name)
            await offload(payer.note, name)
            await asyncio.sleep(0.001)

    def play(home: Path, fuse: Passing) -> None:
        asyncio.run(live(home, Watched(Payer(home), "payer", ("pay", "note"), fuse)))

    return Story(lambda home: home.mkdir(parents=True), play, lambda home: {"paid": [name for name, _ in paid(home)]})


def left_behind(root: Path) -> Any:
    """What each kill left; then what the home is in the end, and for how long its process stood."""
    home, seen, stood = root / "home", [], 0.0
    home.mkdir()
    for left in relay(story(careful=True).play, home, lambda number: number != 2):
        seen.append([left.number, left.name, len(paid(home))])
        stood = left.stood
        (home / "paid").unlink(missing_ok=True)  # only the copy's
        time.sleep(0.01)
    return [seen, paid(home), stood]


def fails(root: Path) -> Any:
    """A play that raises after its first moment."""

    async def live(fuse: Passing) -> None:
        fuse.pass_("before it")
        raise ValueError("this went wrong")

    home = root / "home"
    home.mkdir()
    return [left.name for left in relay(lambda home, fuse: asyncio.run(live(fuse)), home, lambda number: True)]


def main(what: str, root: Path) -> None:
    resize(1)
    match what:
        case "left":
            said = left_behind(root)
        case "fails":
            said = fails(root)
        case _:
            said = attack(story(careful=what == "careful"), root)
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
