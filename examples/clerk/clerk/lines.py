"""Owns which lines of the clerk ran, written down for whoever wants to know (`MOSS_LINES`). Off without it.

One JSON object, `{"clerk/tools.py": [41, 42, ...]}`, replaced after each turn that ran new lines. Never changes what
the agent does.
"""

import json
import os
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[1]


class Lines:
    """Notes the lines of the clerk's own files that run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ran: dict[str, set[int]] = {}
        self._written = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        threading.settrace(self._call)
        sys.settrace(self._call)

    def write(self) -> None:
        with self._lock:
            ran = {name: sorted(lines) for name, lines in self._ran.items()}
            count = sum(map(len, ran.values()))
            if count == self._written:
                return
            half = self._path.with_suffix(".half")
            half.write_text(json.dumps(ran))
            half.replace(self._path)
            self._written = count

    def _call(self, frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(str(ROOT / "clerk")):
            return None
        lines = self._ran.setdefault(os.path.relpath(name, ROOT), set())
        lines.add(frame.f_lineno)

        def line(inner: FrameType, *_: Any) -> Any:
            lines.add(inner.f_lineno)
            return line

        return line


def noted(path: str | None) -> Lines | None:
    """The notebook of this process, started; None where nobody asked for one."""
    if not path:
        return None
    lines = Lines(Path(path))
    lines.start()
    return lines
