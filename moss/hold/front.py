"""Owns the way of one HTTP message through the proxy: wait, pass on, stream back. Never decides about a hold.

Nothing is buffered in either direction but an answer that says it is small: it comes whole or not at all. A request is
sent to the agent once: it waits while nobody listens, and is answered 502 when the agent broke off after a byte of it
was sent.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
from aiohttp import web
from yarl import URL

from moss.domain.ids import Digest
from moss.hold import headers, sockets
from moss.hold.agent import Broken, NotConnected
from moss.hold.desk import Desk
from moss.hold.gate import TurnedAway
from moss.hold.memory import Memory
from moss.hold.options import HoldOptions
from moss.hold.words import AnsweredLine

PAUSE = 0.02
"""seconds between two tries to reach an agent that does not listen yet"""
SMALL = 64 << 10
"""bytes: an answer whose length is known and no larger is read to its end before its sender is told of it"""


class Body:
    """A request's body on its way, hashed as it passes: a message is told apart by it."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._hash = hashlib.sha256()
        self.present = request.body_exists

    @property
    def sha(self) -> Digest:
        return Digest("sha256:" + self._hash.hexdigest())

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._request.content.iter_any():
            self._hash.update(piece)
            yield piece


class Front:
    """The request function of the server."""

    def __init__(self, options: HoldOptions, desk: Desk, memory: Memory, session: aiohttp.ClientSession) -> None:
        self._options, self._desk, self._memory, self._session = options, desk, memory, session

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            _target(request)
            if request.path in self._options.health_paths:
                return await self._exchange(request)
            return await self._turn(request)
        except _NoPath as error:
            return _refusal(400, str(error))
        except TurnedAway as away:
            return _refusal(503, str(away), away.retry_after)
        except NotConnected:
            return _refusal(503, "the agent does not listen", 1)
        except Broken:
            return _refusal(502, "the agent ended before it answered; the message was not sent again")

    async def _turn(self, request: web.BaseRequest) -> web.StreamResponse:
        """One user's message. What it waits for an agent outside a hold is bounded, and is no turn in flight."""
        patience = time.monotonic() + self._options.connect_seconds
        while True:
            async with self._desk.gate.turn() as waited:
                if waited:
                    patience = time.monotonic() + self._options.connect_seconds
                answer = await self._tried(request)
            match answer:
                case web.StreamResponse():
                    return answer
                case aiohttp.ClientWebSocketResponse():
                    return await sockets.relay(request, answer, self._desk.sockets)
                case None if time.monotonic() > patience:
                    return _refusal(502, "the agent does not listen")
                case None:
                    await asyncio.sleep(PAUSE)

    async def _tried(self, request: web.BaseRequest) -> web.StreamResponse | aiohttp.ClientWebSocketResponse | None:
        """The answer, an open WebSocket to the agent, None when nobody listens there."""
        try:
            if headers.is_websocket(request.headers):
                return await sockets.dial(request, self._session, self._url(request))
            return await self._exchange(request)
        except NotConnected:
            return None

    async def _exchange(self, request: web.BaseRequest) -> web.StreamResponse:
        body = Body(request)
        async with self._session.request(
            request.method,
            self._url(request),
            headers=headers.to_agent(request.headers, request.remote),
            data=body.pieces() if body.present else None,
            allow_redirects=False,
        ) as upstream:
            whole = await _whole(request, upstream)
            await self._note(request, upstream.status, body.sha)
            return await _streamed_back(request, upstream) if whole is None else whole

    def _url(self, request: web.BaseRequest) -> URL:
        """The agent's address with the user's own path and query, byte for byte."""
        backend = self._desk.backend
        if backend is None:
            raise NotConnected("no agent was named yet")
        host = f"[{backend.host}]" if ":" in backend.host else backend.host
        return URL(f"http://{host}:{backend.port}{_target(request)}", encoded=True)

    async def _note(self, request: web.BaseRequest, status: int, body_sha: Digest) -> None:
        """In the answered log before the client gets a byte of the answer."""
        self._desk.answered += 1
        key = self._desk.logging
        if key is None or request.path in self._options.health_paths:
            return
        session, at = request.headers.get(self._options.session_header), datetime.now(UTC)
        line = AnsweredLine(
            id=_name(session, at, body_sha),
            at=at,
            method=request.method,
            path=request.path,
            status=status,
            body_sha=body_sha,
            session=session,
        )
        await asyncio.to_thread(self._memory.log, key, line)


class _NoPath(Exception):
    """The request asks for no path of the agent."""


def _target(request: web.BaseRequest) -> str:
    """The user's own path and query. Raises: _NoPath for what could name another host or port behind the agent's
    (`CONNECT x:@other:80`)."""
    raw = request.raw_path
    if request.method != "CONNECT":
        target = raw if raw.startswith("/") or "://" not in raw else URL(raw).raw_path_qs
        if target.startswith("/"):
            return target
    raise _NoPath("ask for a path of the agent; the proxy goes nowhere else")


async def _whole(request: web.BaseRequest, upstream: aiohttp.ClientResponse) -> web.Response | None:
    """A small answer; None for one that is streamed. Raises: Broken when the agent broke off in it."""
    length = upstream.content_length
    if length is None or length > SMALL or request.method == "HEAD" or upstream.status in (204, 304):
        return None
    try:
        data = await upstream.read()
    except aiohttp.ClientError:
        raise Broken("the agent broke off in its answer") from None
    return web.Response(
        status=upstream.status, reason=upstream.reason, headers=headers.end_to_end(upstream.headers), body=data
    )


async def _streamed_back(request: web.BaseRequest, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(
        status=upstream.status, reason=upstream.reason, headers=headers.end_to_end(upstream.headers)
    )
    await response.prepare(request)
    try:
        async for piece in upstream.content.iter_any():
            await response.write(piece)
        await response.write_eof()
    except aiohttp.ClientError:
        # The agent broke off in mid-answer: so must we, or the part would pass for the whole.
        if request.transport is not None:
            request.transport.abort()
    return response


def _name(session: str | None, at: datetime, body_sha: Digest) -> str:
    """What a person finds the message by, should it be gone with the state: whose, when, and its body's hash."""
    whose = "".join(letter for letter in session or "no session" if letter.isprintable())[:80]
    return f"{whose} at {at.isoformat(timespec='milliseconds')} {body_sha.removeprefix('sha256:')[:12]}"


def _refusal(status: int, sentence: str, retry_after: int | None = None) -> web.Response:
    response = web.json_response({"error": {"message": f"moss hold: {sentence}", "type": "moss_hold"}}, status=status)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response
