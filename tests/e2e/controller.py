"""A controller as a process of its own, to be killed: drives one run. `controller.py ROOT RUN [NAME=SECONDS ...]`."""

import asyncio
import os
import sys
from pathlib import Path

from moss.domain.ids import RunId
from moss.settings import load
from moss.wiring import Wiring

root, run, *given = sys.argv[1:]
said = {name: float(value) for name, value in (word.split("=") for word in given)}
wired = Wiring(load(Path(root) / "moss.toml", {"MOSS_HOME": root}, said), dict(os.environ))
asyncio.run(wired.controller.drive(RunId(run)))
