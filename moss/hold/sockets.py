"""Owns WebSockets through the proxy: frames are relayed one by one in both directions.

A WebSocket is not a turn: whether it idles cannot be seen. It stays open while turns drain and is then closed on both
sides with 1012 (service restart, RFC 6455 registry), upon which clients connect again and wait like any request.
"""

import asyncio

import aiohttp
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web
from yarl import URL

from moss.hold import headers
from moss.hold.desk import Sockets

FRAME_LIMIT = 16 << 20
"""bytes of one message; the only thing that is held whole"""

Side = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def dial(
    request: web.BaseRequest, session: aiohttp.ClientSession, url: URL
) -> aiohttp.ClientWebSocketResponse | web.Response:
    """The handshake with the agent: an open socket, or the agent's refusal. Raises: NotConnected, Broken."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    try:
        return await session.ws_connect(
            url,
            headers=headers.to_socket(request.headers, request.remote),
            protocols=[word.strip() for word in offered.split(",") if word.strip()],
            max_msg_size=FRAME_LIMIT,
            autoclose=False,
        )
    except aiohttp.WSServerHandshakeError as error:
        return web.Response(status=error.status, text=error.message)


async def relay(
    request: web.BaseRequest, agent: aiohttp.ClientWebSocketResponse, sockets: Sockets
) -> web.WebSocketResponse:
    """From the client's handshake to the close."""
    closing = asyncio.Event()
    sockets.open.add(closing)
    protocols = [agent.protocol] if agent.protocol else []
    client = web.WebSocketResponse(protocols=protocols, compress=False, max_msg_size=FRAME_LIMIT, autoclose=False)
    try:
        await client.prepare(request)
        await _both_ways(client, agent, closing)
    finally:
        sockets.open.discard(closing)
        await agent.close()
    return client


async def _both_ways(
    client: web.WebSocketResponse, agent: aiohttp.ClientWebSocketResponse, closing: asyncio.Event
) -> None:
    tasks = [
        asyncio.ensure_future(_pump(client, agent)),
        asyncio.ensure_future(_pump(agent, client)),
        asyncio.ensure_future(closing.wait()),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        code = WSCloseCode.SERVICE_RESTART if closing.is_set() else _code(client, agent)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await client.close(code=code)
    await agent.close(code=code)


async def _pump(source: Side, sink: Side) -> None:
    async for message in source:
        await _pass_on(message, sink)


async def _pass_on(message: WSMessage, sink: Side) -> None:
    match message.type:
        case WSMsgType.TEXT:
            await sink.send_str(message.data)
        case WSMsgType.BINARY:
            await sink.send_bytes(message.data)


def _code(client: Side, agent: Side) -> int:
    """The close code of whichever side closed first; 1006 may be seen but never sent."""
    code = client.close_code or agent.close_code or WSCloseCode.OK
    return WSCloseCode.GOING_AWAY if code in (1005, 1006) else code
