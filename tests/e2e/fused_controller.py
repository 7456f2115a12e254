"""A controller that ends itself with SIGKILL at a moment of its journal: `fused_controller.py ROOT RUN MOMENT`.

Moments are before and after each entry that it appends; 0 is never. Its last line is how many it came by.
"""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

from moss.domain.ids import RunId
from moss.engine.controller import Controller
from moss.settings import load
from moss.testing.crash import Fuse, Watched
from moss.wiring import Wiring

root, run, moment = sys.argv[1:]
wired = Wiring(load(Path(root) / "moss.toml", {"MOSS_HOME": root}, {}), dict(os.environ))
fuse = Fuse(int(moment) or None)
store = Watched(wired.store, "store", ("append",), fuse)
parts = replace(wired.parts, store=store)  # type: ignore[arg-type]
controller = Controller(parts, wired.controller._perform, "the only one")
asyncio.run(controller.drive(RunId(run)))
print(len(fuse.moments))
