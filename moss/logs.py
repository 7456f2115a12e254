"""Owns the form of MOSS's own log: one event a line with run, stage and key; values cut, secrets removed.

Written to a file, never between the lines of an answer. Invariant: no value is longer than `VALUE_LIMIT`, and what
looks like a key or a token leaves as a placeholder, whichever part logged it.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from moss.domain.secrets import spans

VALUE_LIMIT = 1000
FILE_LIMIT = 32 << 20
"""bytes of a log file before it is turned over; one older one is kept"""

_HIDDEN = re.compile("\0+")
_open: list[TextIO] = []


Told = Callable[[EventDict], None]


def to_file(path: Path, told: Told | None = None) -> None:
    """From now on this process logs there, a JSON object a line. `told` gets each event, too, clean and bounded."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > FILE_LIMIT:
        path.replace(path.with_suffix(".log.1"))
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    file = os.fdopen(fd, "a", encoding="utf-8", buffering=1)
    close()
    _open.append(file)
    _configure(file, told)


def close() -> None:
    """The file of `to_file` is closed, and structlog is as it was."""
    if _open:
        structlog.reset_defaults()
    while _open:
        _open.pop().close()


def _configure(file: TextIO, told: Told | None) -> None:
    def tell(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        if told is not None:
            told(dict(event))
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            without_secrets,
            tell,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.WriteLoggerFactory(file),
        cache_logger_on_first_use=False,
    )


def without_secrets(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Every value bounded, one line's worth of it clean; of a traceback the end, where the error stands."""
    return {key: _clean(value, end=key == "exception") for key, value in event.items()}


def _clean(value: object, end: bool) -> object:
    if isinstance(value, bool | int | float) or value is None:
        return value
    # Looked at more widely than shown: a secret that the bound cuts through is one all the same.
    text = str(value)[-4 * VALUE_LIMIT :] if end else str(value)[: 4 * VALUE_LIMIT]
    secret = bytearray(len(text))
    for span in spans(text):
        secret[span.start : span.end] = b"\1" * (span.end - span.start)
    shown = "".join("\0" if hidden else letter for letter, hidden in zip(text, secret, strict=True))
    clean = _HIDDEN.sub("[secret]", shown)
    return clean[-VALUE_LIMIT:] if end else clean[:VALUE_LIMIT]
