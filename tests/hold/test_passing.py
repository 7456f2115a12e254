"""What passes the proxy passes as it is: bytes, streams, sockets; and a request is sent to the agent once."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest
from aiohttp import WSCloseCode, WSMsgType, web
from yarl import URL

from moss.hold import launch
from moss.hold.client import HoldClient
from moss.hold.front import SMALL
from moss.hold.options import HoldOptions
from moss.hold.words import Backend

from .conftest import Agent, Front, free_port, proxy, say_ok


async def test_a_message_and_its_answer_pass_unchanged(front: Front, agent: Agent) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(status=418, reason="Teapot", body=b"\x00\xff" + await request.read())
        response.headers.add("X-Two", "one")
        response.headers.add("X-Two", "two")
        response.headers["Connection"] = "X-Gone"
        response.headers["X-Gone"] = "1"
        return response

    agent.answer = answer
    sent = {"Host": "clerk.example", "X-Mine": "me", "Connection": "keep-alive, X-Hop", "X-Hop": "1"}
    async with front.http.put(
        URL(front.url + "/a//b/%2e%2e/c?q=%20+x", encoded=True), data=b"\x01\x02", headers=sent
    ) as response:
        assert (response.status, response.reason) == (418, "Teapot")
        assert await response.read() == b"\x00\xff\x01\x02"
        assert response.headers.getall("X-Two") == ["one", "two"]
        assert "X-Gone" not in response.headers
    got = agent.got[0]
    assert (got.method, got.raw_path) == ("PUT", "/a//b/%2e%2e/c?q=%20+x")
    assert got.headers["Host"] == "clerk.example"
    assert got.headers["X-Mine"] == "me"
    assert "X-Hop" not in got.headers
    assert got.headers["X-Forwarded-For"] == "127.0.0.1"


async def test_an_encoded_body_is_not_decoded_and_no_header_is_invented(front: Front, agent: Agent) -> None:
    seen: list[bytes] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"not really gzip", headers={"Content-Encoding": "gzip"})

    agent.answer = answer
    reader, writer = await asyncio.open_connection("127.0.0.1", front.options.port)
    writer.write(b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    seen.append(await reader.read())
    writer.close()
    assert b"not really gzip" in seen[0]
    assert b"Content-Encoding: gzip" in seen[0]
    assert set(agent.got[0].headers) == {"Host", "X-Forwarded-For", "Connection"}


async def test_the_answer_streams_while_the_agent_still_speaks(front: Front, agent: Agent) -> None:
    go_on = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: one\n\n")
        await go_on.wait()
        await response.write(b"data: two\n\n")
        return response

    agent.answer = answer
    async with front.http.get(front.url + "/events") as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert await response.content.readuntil(b"\n\n") == b"data: one\n\n"
        go_on.set()
        assert await response.content.read() == b"data: two\n\n"


async def test_the_request_streams_while_the_client_still_sends(front: Front, agent: Agent) -> None:
    first = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        got = await request.content.readany()
        first.set()
        return web.Response(body=got + await request.content.read())

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        await asyncio.wait_for(first.wait(), 2)
        yield b"two"

    agent.answer = answer
    async with front.http.post(front.url + "/up", data=pieces()) as response:
        assert await response.read() == b"one two"


async def test_an_agent_that_breaks_off_in_mid_answer_never_passes_for_whole(front: Front, agent: Agent) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    agent.answer = answer
    with pytest.raises(aiohttp.ClientError):
        async with front.http.get(front.url + "/x") as response:
            await response.read()


async def broken_off(front: Front, agent: Agent, length: int) -> int:
    """The status of an answer of which the agent tells the length and sends four bytes."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(length)})
        await response.prepare(request)
        await response.write(b"half")
        await asyncio.sleep(0.01)
        assert request.transport is not None
        request.transport.abort()
        return response

    agent.answer = answer
    async with front.http.post(front.url + "/x", data=b"m") as response:
        if response.status == 200:
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        return response.status


async def test_a_small_answer_comes_whole_or_not_at_all(front: Front, agent: Agent) -> None:
    assert await broken_off(front, agent, 10) == 502
    assert await broken_off(front, agent, SMALL) == 502
    assert await broken_off(front, agent, SMALL + 1) == 200
    assert len(agent.got) == 3


async def test_the_length_of_an_answer_without_a_body_stays(front: Front, agent: Agent) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "12"})
        await response.prepare(request)
        return response

    agent.answer = answer
    async with front.http.head(front.url + "/x") as response:
        assert (response.status, response.headers["Content-Length"]) == (200, "12")


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_a_request_that_reached_the_agent_is_never_sent_again(front: Front, agent: Agent, method: str) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    agent.answer = answer
    async with front.http.request(method, front.url + "/x", data=None if method == "GET" else b"b") as response:
        assert response.status == 502
        assert "not sent again" in await response.text()
    assert len(agent.got) == 1


async def test_a_request_waits_for_an_agent_that_restarts(front: Front, agent: Agent) -> None:
    await agent.stop()
    posted = asyncio.ensure_future(front.post("hello"))
    await asyncio.wait([posted], timeout=0.1)
    assert not posted.done()
    await agent.start()
    assert await posted == (200, "ok hello")
    assert len(agent.got) == 1


async def test_an_agent_that_stays_away_is_answered_502_and_health_at_once(tmp_path: Path, agent: Agent) -> None:
    await agent.stop()
    async with proxy(tmp_path / "hold", free_port(), connect_seconds=0.1) as front:
        assert (await front.post("hello"))[0] == 502
        await front.name(agent)
        assert (await front.post("hello"))[0] == 502
        async with front.http.get(front.url + "/health") as response:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= 1


async def test_a_client_that_leaves_takes_its_request_with_it(front: Front, agent: Agent) -> None:
    left = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.005)
        except (ConnectionError, asyncio.CancelledError):
            left.set()
            raise

    agent.answer = answer
    async with front.http.get(front.url + "/x") as response:
        await response.content.readexactly(1)
        response.close()
    await asyncio.wait_for(left.wait(), 2)
    await front.in_flight(0)


async def test_requests_that_smuggle_are_refused_or_framed_anew(front: Front, agent: Agent) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=await request.read())

    agent.answer = answer
    reader, writer = await asyncio.open_connection("127.0.0.1", front.options.port)
    writer.write(
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /admin HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    )
    await reader.read()
    writer.close()
    for got in agent.got:
        lengths = ("Content-Length" in got.headers) + ("Transfer-Encoding" in got.headers)
        assert lengths <= 1


async def _echo_socket(request: web.BaseRequest) -> web.StreamResponse:
    if request.headers.get("X-Refuse"):
        return web.Response(status=403)
    socket = web.WebSocketResponse(protocols=["chat"])
    await socket.prepare(request)
    async for message in socket:
        if message.data == "bye":
            await socket.close(code=4001)
        elif message.type is WSMsgType.TEXT:
            await socket.send_str("echo " + message.data)
        else:
            await socket.send_bytes(message.data[::-1])
    return socket


async def test_a_websocket_passes_in_both_directions_with_its_close_code(front: Front, agent: Agent) -> None:
    agent.answer = _echo_socket
    async with front.http.ws_connect(front.url + "/ws", protocols=["other", "chat"]) as socket:
        assert socket.protocol == "chat"
        await socket.send_str("hi")
        assert (await socket.receive()).data == "echo hi"
        await socket.send_bytes(b"abc")
        assert (await socket.receive()).data == b"cba"
        await socket.send_str("bye")
        closed = await socket.receive()
        assert (closed.type, socket.close_code) == (WSMsgType.CLOSE, 4001)


async def test_a_refused_websocket_is_refused_with_the_agents_status(front: Front, agent: Agent) -> None:
    agent.answer = _echo_socket
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await front.http.ws_connect(front.url + "/ws", headers={"X-Refuse": "1"})
    assert refused.value.status == 403


async def test_a_websocket_is_no_turn_and_is_closed_with_service_restart_after_the_drain(
    front: Front, agent: Agent
) -> None:
    agent.answer = _echo_socket
    async with front.http.ws_connect(front.url + "/ws") as socket:
        await socket.send_str("hi")
        await socket.receive()
        held = await front.hold(drain=5.0)
        closed = await socket.receive()
        assert (closed.type, socket.close_code) == (WSMsgType.CLOSE, WSCloseCode.SERVICE_RESTART)
    assert getattr(held, "complete") is True  # noqa: B009
    assert (await front.ask(front.client.status)).sockets == 0
    again = asyncio.ensure_future(front.http.ws_connect(front.url + "/ws"))
    await front.waiting(1)
    await front.ask(front.client.release, "k")
    async with await again as socket:
        await socket.send_str("back")
        assert (await socket.receive()).data == "echo back"


@pytest.mark.slow
async def test_a_hundred_megabytes_each_way_leave_the_memory_flat(tmp_path: Path) -> None:
    size, piece = 100 << 20, b"m" * (1 << 16)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        seen = hashlib.sha256()
        async for part in request.content.iter_any():
            seen.update(part)
        response = web.StreamResponse(headers={"X-Sha": seen.hexdigest()})
        await response.prepare(request)
        for _ in range(size // len(piece)):
            await response.write(piece)
        return response

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size // len(piece)):
            yield piece

    agent = Agent(free_port(), say_ok)
    await agent.start()
    options = HoldOptions(tmp_path / "hold", "127.0.0.1", free_port())
    launch.start(options)
    try:
        client = HoldClient(options.folder)
        client.backend(Backend(host="127.0.0.1", port=agent.port))
        process = psutil.Process(client.status().pid)
        url = f"http://127.0.0.1:{options.port}"
        async with aiohttp.ClientSession() as http:
            async with http.post(url, data=b"warm") as response:
                await response.read()
            agent.answer = answer
            before = process.memory_info().rss
            async with http.post(url, data=pieces()) as response:
                got = sum([len(part) async for part in response.content.iter_any()])
                peak = process.memory_info().rss
        assert got == size
        assert response.headers["X-Sha"] == hashlib.sha256(piece * (size // len(piece))).hexdigest()
        assert peak - before < 30 << 20
    finally:
        launch.stop(options)
        await agent.stop()


async def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="error while attempting to bind"):
            async with proxy(tmp_path / "hold", other.getsockname()[1]):
                pass


@pytest.mark.parametrize("upgrade", ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n"])
async def test_no_request_target_leads_past_the_agent(front: Front, agent: Agent, upgrade: str) -> None:
    other = Agent(free_port(), say_ok)
    await other.start()
    try:
        for target in (f"CONNECT x:@127.0.0.1:{other.port}", "CONNECT x:1", "CONNECT x", "OPTIONS *"):
            reader, writer = await asyncio.open_connection("127.0.0.1", front.options.port)
            writer.write(f"{target} HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n".encode())
            assert (await reader.readline()).split()[1] == b"400", target
            writer.close()
    finally:
        await other.stop()
    assert (other.got, agent.got) == ([], [])


async def test_a_whole_address_is_taken_as_its_path(front: Front, agent: Agent) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", front.options.port)
    writer.write(b"GET http://elsewhere.invalid/@b?c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert b" 200 " in await reader.readline()
    writer.close()
    assert agent.got[0].raw_path == "/@b?c"
