"""Owns a daemon's folder and its logs: private, and on the disk line by line (whole files: `moss.files`)."""

import os
from pathlib import Path


def private_folder(path: Path) -> Path:
    """The folder, made where it is missing, with access for its owner alone."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def append(path: Path, line: bytes) -> None:
    """Adds one line; it is on the disk when this returns. A line cut by a crash is the reader's to drop."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        _write_all(descriptor, line.rstrip(b"\n") + b"\n")
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> bytes | None:
    """The file's bytes, None when it is absent."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def whole_lines(path: Path) -> list[bytes]:
    """The lines that were written to their end; none when the file is absent."""
    data = read(path) or b""
    return data[: data.rfind(b"\n") + 1].splitlines()


def remove(path: Path) -> None:
    """Absent is silent."""
    path.unlink(missing_ok=True)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
