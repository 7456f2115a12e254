"""Owns the gateway's HTTP: routes, tokens, bounds, and the bytes of an answer on their way to a box.

Never decides who speaks (`world`) or what it costs (`ledger`). Invariants: a path is matched as it was sent, never
decoded or normalised; a request that names two tokens, two hosts or a whole address is refused; an answer passes piece
by piece, and one that was cut ends as a cut connection.
"""

import asyncio
import re
from collections.abc import Callable
from datetime import datetime

import structlog
from aiohttp import web

from moss.errors import StoreError, TokenRefused
from moss.gateway.admin import Admin
from moss.gateway.call import Call
from moss.gateway.chat import Chat
from moss.gateway.ledger import Ledger
from moss.gateway.speech import Cut, Speech
from moss.gateway.switchboard import Arrival, Switchboard
from moss.gateway.tokens import Pass, verify
from moss.gateway.wire import Denied, Wire

log = structlog.get_logger()

ROUTE = re.compile(r"(?:/u/(?P<upstream>[a-z0-9][a-z0-9-]{0,39}))?(?P<path>/v1/[a-z/]+)")
TURN = re.compile(r"[!-~]{1,300}#[1-9][0-9]{0,6}")
MODELS = "/v1/models"


class GatewayServer:
    """The routes. `wires`: one a wire API; the first one's error form answers unknown routes."""

    def __init__(
        self, board: Switchboard, ledger: Ledger, admin: Admin, secret: bytes, now: Callable[[], datetime]
    ) -> None:
        self._board, self._ledger, self._admin, self._secret, self._now = board, ledger, admin, secret, now
        self._wires: tuple[Wire, ...] = (Chat(),)

    def app(self) -> web.Application:
        # one route for all: the path is matched here, as it was sent
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", self.take)
        return app

    async def take(self, request: web.Request) -> web.StreamResponse:
        wire = self._wires[0]
        try:
            target = _target(request)
            if self._admin.owns(target):
                return await self._admin.take(request, target)
            found = ROUTE.fullmatch(target)
            if found is None:
                raise _unknown(target)
            if found["path"] == MODELS:
                return self._models(request, wire, found["upstream"])
            wire = self._wire(found["path"], target)
            return await self._call(request, wire, found["upstream"])
        except Denied as denied:
            return self._refuse(request, wire, denied)
        except StoreError as error:
            log.error("the ledger failed", error=str(error))
            sentence = "the gateway cannot count this request now, so it is not sent"
            return self._refuse(request, wire, Denied(503, sentence, code="ledger", kind="server_error"))

    def _wire(self, path: str, target: str) -> Wire:
        for wire in self._wires:
            if wire.path == path:
                return wire
        raise _unknown(target)

    def _models(self, request: web.Request, wire: Wire, upstream: str | None) -> web.Response:
        if request.method != "GET":
            raise Denied(405, f"{MODELS} takes GET", code="method")
        passed = self._pass(request)
        names = self._board.models_of(passed, self._board.upstream_of(passed, upstream))
        return web.Response(body=wire.models(names or ()), content_type="application/json")

    async def _call(self, request: web.Request, wire: Wire, upstream: str | None) -> web.StreamResponse:
        if request.method != "POST":
            raise Denied(405, f"{wire.path} takes POST", code="method")
        passed = self._pass(request)
        raw = await read_body(request, self._board.config.body_bytes, self._board.config.read_seconds)
        arrival = Arrival(passed, raw, upstream, _turn(request), request.headers)
        relay = Relay(request, self._board.config.write_seconds)
        try:
            async with asyncio.timeout(self._seconds(passed)), self._board.call(wire, arrival) as (call, speech):
                return await relay.pass_on(call, speech)
        except StoreError:
            self._ledger.blame(passed.grant.key)
            raise
        except TimeoutError:
            if relay.response is None:
                raise Denied(504, "no answer within the box's time", code="timeout", kind="server_error") from None
            return relay.hang_up()

    def _seconds(self, passed: Pass) -> float:
        if passed.expires is None:
            return self._board.config.call_seconds
        return min(self._board.config.call_seconds, max(0.0, passed.expires - self._now().timestamp()))

    def _pass(self, request: web.Request) -> Pass:
        """Raises: Denied (401) unless exactly one good token is shown."""
        shown = [value.strip() for value in request.headers.getall("x-api-key", [])]
        for value in request.headers.getall("Authorization", []):
            scheme, _, token = value.partition(" ")
            shown.append(token.strip() if scheme.lower() == "bearer" else value)
        if len(set(shown)) != 1:
            sentence = "show one box token, as `Authorization: Bearer` or `x-api-key`"
            raise Denied(401, sentence, code="token", kind="authentication_error")
        try:
            passed = verify(self._secret, shown[0], self._now())
            self._ledger.admit(passed.grant.key, passed.attempt)
        except TokenRefused as error:
            raise Denied(401, str(error), code="token", kind="authentication_error") from None
        return passed

    @staticmethod
    def _refuse(request: web.Request, wire: Wire, denied: Denied) -> web.Response:
        log.info("refused", status=denied.status, code=denied.code, path=request.raw_path[:200])
        response = web.Response(status=denied.status, body=wire.error(denied), content_type="application/json")
        if not request.content.is_eof():
            # the rest of its body is not wanted
            response.force_close()
        return response


class Relay:
    """One answer on its way to the box."""

    def __init__(self, request: web.Request, write_seconds: float) -> None:
        self._request, self._write_seconds = request, write_seconds
        self.response: web.StreamResponse | None = None

    async def pass_on(self, call: Call, speech: Speech) -> web.StreamResponse:
        """Sends head and pieces as they come. A cut answer ends as a cut connection."""
        headers = {**speech.headers, "Content-Type": speech.content_type, "Cache-Control": "no-store"}
        self.response = response = web.StreamResponse(status=speech.status, headers=headers)
        response.content_length = speech.length
        try:
            await response.prepare(self._request)
            await self._pieces(response, call, speech)
        except Cut:
            call.cut = True
            return self.hang_up()
        except ConnectionError:
            call.left = True
        return response

    async def _pieces(self, response: web.StreamResponse, call: Call, speech: Speech) -> None:
        async for piece in speech.body:
            call.hear(piece)
            await self._write(response, piece)
            if call.overruns:
                stop = call.wire.stop(call.asked)
                call.hear(stop)
                await self._write(response, stop)
                return

    async def _write(self, response: web.StreamResponse, piece: bytes) -> None:
        try:
            async with asyncio.timeout(self._write_seconds):
                await response.write(piece)
        except TimeoutError:
            self._abort()
            raise ConnectionResetError("the box does not read") from None

    def hang_up(self) -> web.StreamResponse:
        """Ends the connection without the answer's end; what was sent still arrives."""
        assert self.response is not None
        if self._request.transport is not None:
            self._request.transport.close()
        return self.response

    def _abort(self) -> None:
        transport = self._request.transport
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()


async def read_body(request: web.Request, limit: int, seconds: float) -> bytes:
    """The body, bounded in size and time, never unpacked. Raises: Denied (408, 413, 415)."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Denied(415, "compressed requests are not taken", code="encoding")
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise Denied(408, f"the request was not there within {seconds:g} s", code="slow") from None
    return bytes(body)


def _too_large(limit: int) -> Denied:
    return Denied(413, f"the request body is larger than {limit} bytes", code="too_large")


def _target(request: web.Request) -> str:
    """The path as it was sent. Raises: Denied (400) for a whole address, two hosts, another protocol."""
    target, _, _ = request.raw_path.partition("?")
    if not target.startswith("/"):
        raise Denied(400, "the gateway is not a proxy: ask for a path", code="target")
    if len(request.headers.getall("Host", [])) > 1:
        raise Denied(400, "the request names two hosts", code="host")
    if "Upgrade" in request.headers:
        raise Denied(400, "the gateway speaks no other protocol", code="upgrade")
    return target


def _turn(request: web.Request) -> str | None:
    said = request.headers.getall("X-Moss-Turn", [])
    return said[0] if len(said) == 1 and TURN.fullmatch(said[0]) else None


def _unknown(target: str) -> Denied:
    return Denied(404, f"the gateway has no route {target[:200]!r}", code="not_found", kind="not_found_error")
