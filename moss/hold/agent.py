"""Owns the way to the agent: one connection a request, opened when the agent listens, never resent on.

The one question that matters after a failure is kept apart: did a byte of the request reach the agent (`Broken`: it
may have acted, so the client is told) or not (`NotConnected`: the request can wait and try again).
"""

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

HEADER_BYTES = 1 << 16
"""as much as agents' own servers take in one line"""


class NotConnected(Exception):
    """The agent does not listen; nothing was sent."""


class Broken(Exception):
    """The connection ended after the request, or a part of it, was sent and before an answer."""


async def _told_apart(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
    """aiohttp would send GET, PUT and others again by itself: errors that are not its own it leaves alone."""
    try:
        return await send(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise NotConnected(str(error)) from error
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError) as error:
        raise Broken(str(error) or type(error).__name__) from error


def way_to_agent() -> aiohttp.ClientSession:
    """A client that adds nothing, follows nothing, keeps nothing: cookies, bodies and encodings pass as they are.

    Each request has its own connection: one kept open by an agent that is stopped would break the request after it.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=2.0),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_line_size=HEADER_BYTES,
        max_field_size=HEADER_BYTES,
        middlewares=(_told_apart,),
    )
