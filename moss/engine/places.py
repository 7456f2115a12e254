"""Owns where the engine keeps what it works on below the home, and how that goes. Never reads or writes there."""

import contextlib
import hashlib
import re
from pathlib import Path

from moss.domain.ids import Key
from moss.files import remove_tree


def safe(key: Key) -> str:
    """A key as one folder name: readable, and never two keys with the same name."""
    words = re.sub(r"[^A-Za-z0-9.+-]+", "_", key)[:80].strip(".")
    return f"{words}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def work_folder(home: Path) -> Path:
    """What all runs work on, a folder each."""
    return home / "work"


def run_folder(home: Path, run: str) -> Path:
    """All that a run works on; dropped when it ended."""
    return work_folder(home) / run


def step_folder(home: Path, run: str, key: Key) -> Path:
    """What one step works on: trees, states, logs."""
    return run_folder(home, run) / safe(key)


def drop_tree(folder: Path) -> None:
    """A work folder and all that a box made in it, read-only folders too. What cannot go now goes with its run."""
    with contextlib.suppress(OSError):
        remove_tree(folder)
