"""Owns how a program becomes a process of its own: it outlives its starter, is the child of nobody, keeps no terminal.

The program detaches itself (two forks, before it has threads), so that no starter is left with a child to reap; the
starter waits for its word that it is ready. It gets no environment but what a Python program needs.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from moss.errors import TargetDown

READY, TAKEN = 0, 75
"""exit codes of the starting half: it runs; another of its kind does (`EX_TEMPFAIL`)"""

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def launch(argv: Sequence[str], log: Path, seconds: float, extra: Mapping[str, str] = MappingProxyType({})) -> bool:
    """Starts a program that calls `detach`; whether it is new (False: one of its kind ran already).

    `extra` comes to its environment: what a program must be given by name (the gateway its keys).
    Raises: TargetDown when it does not get ready in `seconds`, with the last line that it wrote.
    """
    try:
        ended = subprocess.run(
            argv,
            env={**ENVIRONMENT, **extra},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TargetDown(f"{argv[-1]}: not ready after {seconds:g} s; see {log}") from error
    if ended.returncode not in (READY, TAKEN):
        raise TargetDown(f"does not start: {_last_line(ended.stderr) or _last_line_of(log)}; see {log}")
    return ended.returncode == READY


def detach(log: Path) -> Callable[[], None]:
    """Goes on in a process of its own with its output in `log`; the returned function tells the starter `ready`.

    The starting half ends here, with READY once told so, with 1 when this process ends before.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        os._exit(READY if os.read(reading, 1) else 1)
    os.close(reading)
    os.setsid()
    if os.fork():
        os._exit(0)
    _redirect(log)

    def ready() -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(writing, b"+")
        os.close(writing)

    return ready


def _redirect(log: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else ""


def _last_line_of(log: Path) -> str:
    try:
        return _last_line(log.read_bytes()[-4096:])
    except OSError:
        return "it wrote nothing"
