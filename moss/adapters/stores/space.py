"""Owns the free-space watermark: how much is left where MOSS writes, and the refusal before it runs out."""

import shutil
from pathlib import Path

from moss.errors import NoSpace


def free_space(path: Path) -> int:
    """Bytes that this user may still write where `path` is, or would be."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def require_space(path: Path, watermark: int, purpose: str) -> None:
    """Raises: NoSpace when less than `watermark` bytes are free. `purpose` opens the sentence: `build`, `swap`."""
    free = free_space(path)
    if free < watermark:
        raise NoSpace(
            f"{purpose}: {free:,} bytes are free at {path}, the watermark is {watermark:,}. Nothing was started. "
            "Mend: make room, or lower retention.free_bytes."
        )
