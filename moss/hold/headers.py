"""Owns which headers pass the proxy (RFC 9110, 7.6.1): end-to-end ones do, those of one connection never. Pure."""

from collections.abc import Mapping

from multidict import CIMultiDict

HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
    )
)
"""`expect` too: the proxy itself tells the client to go on"""


def end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """A copy without what belongs to one connection, `Connection`'s own list included. Repeats and order stay."""
    listed = {word.strip().lower() for value in _all(headers, "connection") for word in value.split(",")}
    dropped = HOP_BY_HOP | listed
    kept = CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)
    if any("chunked" in value.lower() for value in _all(headers, "transfer-encoding")):
        # Both lengths at once is how requests are smuggled; the framing is ours to choose then.
        kept.popall("content-length", None)
    return kept


def to_agent(headers: Mapping[str, str], client: str | None) -> CIMultiDict[str]:
    """Request headers for the agent: `Host` stays as the user sent it, the client is added to X-Forwarded-For."""
    kept = end_to_end(headers)
    if client is not None:
        before = kept.popall("X-Forwarded-For", [])
        kept["X-Forwarded-For"] = ", ".join([*before, client])
    return kept


def to_socket(headers: Mapping[str, str], client: str | None) -> CIMultiDict[str]:
    """Handshake headers for the agent's WebSocket: the handshake's own are made anew."""
    kept = to_agent(headers, client)
    for name in [name for name in kept if name.lower().startswith("sec-websocket-")]:
        kept.popall(name, None)
    return kept


def is_websocket(headers: Mapping[str, str]) -> bool:
    return any(value.strip().lower() == "websocket" for value in _all(headers, "upgrade"))


def _all(headers: Mapping[str, str], wanted: str) -> list[str]:
    return [value for name, value in headers.items() if name.lower() == wanted]
