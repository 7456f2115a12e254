"""Owns the form of the gateway's own log: a JSON object a line, values cut. Never a key, a body or a token."""

import logging

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import EventDict, WrappedLogger

VALUE_LIMIT = 1000

http_log = logging.getLogger("moss.gateway.http")
"""What the HTTP server has to say of requests. Those it cannot parse are left out: their errors quote them."""
http_log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))


def log_as_lines() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _cut,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    )


def _cut(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    return {key: value[:VALUE_LIMIT] if isinstance(value, str) else value for key, value in event.items()}
