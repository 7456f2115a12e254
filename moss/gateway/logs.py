"""Owns the form of the gateway's own log: a JSON object a line, cut and clean as moss.log is. Never a body."""

import logging

import structlog
from aiohttp.http_exceptions import HttpProcessingError

from moss.logs import without_secrets

http_log = logging.getLogger("moss.gateway.http")
"""What the HTTP server has to say of requests. Those it cannot parse are left out: their errors quote them."""
http_log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))


def log_as_lines() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            without_secrets,
            structlog.processors.JSONRenderer(),
        ]
    )
