"""Owns the control sockets: one line of JSON asked, one line answered, over a Unix socket of its owner alone.

The path of a Unix socket is at most 107 bytes long, a home folder may be deeper: so it is reached through the
folder's open descriptor. An answer names a MOSS error by its class; only those of the list are ever raised.
"""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from moss import errors

LIMIT = 64 << 20
"""bytes of one line, a bound against a peer that never ends it"""

RAISED: dict[str, type[errors.MossError]] = {
    kind.__name__: kind
    for kind in (errors.TargetError, errors.NotExpected, errors.TargetDown, errors.BoxRefused, errors.NoSpace)
}


def listen(path: Path) -> socket.socket:
    """A listening socket at `path` for its owner alone. The caller holds the lock that makes it the only one."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        old = os.umask(0o177)
        try:
            server.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.umask(old)
    except OSError:
        server.close()
        raise
    finally:
        os.close(folder)
    server.listen(64)
    return server


def ask(path: Path, request: bytes, seconds: float) -> bytes:
    """The answer to one request, the bytes of its `result`.

    Raises: TargetDown when nobody answers in time; what the answer names (see `RAISED`).
    """
    try:
        with _connect(path, seconds) as peer:
            peer.sendall(request + b"\n")
            line = read_line(peer)
    except OSError as error:
        raise errors.TargetDown(f"{path}: nobody answers ({error.strerror or error})") from error
    return _opened(path, line)


def read_line(peer: socket.socket) -> bytes:
    """Bytes up to the first newline. Raises: OSError when the peer ends before it, or never does."""
    parts = bytearray()
    while not parts.endswith(b"\n"):
        piece = peer.recv(1 << 16)
        if not piece:
            raise ConnectionResetError(None, "closed before its answer")
        parts += piece
        if len(parts) > LIMIT:
            raise ConnectionAbortedError(None, "line too long")
    return bytes(parts[:-1])


def good(result: bytes) -> bytes:
    """The answer line for a result, itself JSON."""
    return b'{"result":' + result + b"}\n"


def bad(error: Exception) -> bytes:
    """The answer line for an error. What is no MOSS error is told as TargetError with its class."""
    known = type(error).__name__ in RAISED
    name = type(error).__name__ if known else "TargetError"
    sentence = str(error) if known else f"{type(error).__name__}: {error}"
    return json.dumps({"error": name, "sentence": sentence}).encode() + b"\n"


def answer(peer: socket.socket, act: Callable[[bytes], bytes]) -> None:
    """Reads one request, acts, answers. A peer that went away is silent."""
    try:
        request = read_line(peer)
        peer.sendall(_acted(act, request))
    except OSError:
        return


def _acted(act: Callable[[bytes], bytes], request: bytes) -> bytes:
    try:
        return good(act(request))
    except (errors.MossError, ValueError) as error:
        return bad(error)


def _connect(path: Path, seconds: float) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.settimeout(seconds)
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            peer.connect(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
    except OSError:
        peer.close()
        raise
    return peer


def _opened(path: Path, line: bytes) -> bytes:
    if line.startswith(b'{"result":') and line.endswith(b"}"):
        return line[len(b'{"result":') : -1]
    try:
        told = json.loads(line)
        raise RAISED[told["error"]](told["sentence"])
    except (ValueError, KeyError, TypeError) as error:
        raise errors.TargetDown(f"{path}: an answer that cannot be read") from error
