"""Owns the HTTP face: routes from the one table, Bearer tokens, errors as 4xx with sentence and mend, health.

Never decides who may do what (`operations` does, for every route). Imported by `moss serve` alone: FastAPI is heavy.
Invariant: no request body larger than `LARGEST_BODY` is read, and every answer that is not 200 is
`{"error", "sentence", "mend"}`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from moss.api import asks
from moss.api.caller import Caller, caller_of
from moss.api.doors import BASE, LocalDoor
from moss.api.metrics import Metrics
from moss.api.operations import LOG, OPERATIONS, Office, Operation
from moss.api.page import Pages
from moss.api.plain import plain
from moss.api.says import LogLines
from moss.domain.rights import Action
from moss.errors import Absent, Forbidden, MossError, NotKnown, Refused, UserError

if TYPE_CHECKING:
    from moss.wiring import Wiring

log = structlog.get_logger()

LARGEST_BODY = 256 << 10
SSE_LOOK = 0.3
SSE_QUIET = 15.0
NO_STORE = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

STATUS_OF: tuple[tuple[type[MossError], int], ...] = (
    (NotKnown, 401),
    (Forbidden, 403),
    (Absent, 404),
    (UserError, 400),
    (Refused, 409),
)


def create_app(wiring: "Callable[[], Wiring]") -> FastAPI:
    """The app. `wiring` gives the parts by the settings that are in force now."""
    app = FastAPI(title="MOSS", openapi_url=f"{BASE}/openapi.json", docs_url=None, redoc_url=None)
    app.add_exception_handler(MossError, _moss_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _broken)
    for operation in OPERATIONS:
        if operation.path is not None:
            _add(app, operation, wiring)
    app.add_api_route("/healthz", healthz, methods=["GET"], include_in_schema=False)
    app.add_api_route("/metrics", _metrics(wiring), methods=["GET"], include_in_schema=False)
    app.add_api_route(f"{BASE}/runs/{{run}}/events", _events(wiring), methods=["GET"], include_in_schema=False)
    Pages(wiring).add(app)
    return app


def _add(app: FastAPI, operation: Operation[Any, Any], wiring: "Callable[[], Wiring]") -> None:
    async def route(request: Request) -> Response:
        office = Office(wiring())
        caller = await run_in_threadpool(admitted, office, operation, bearer(request))
        ask = await read_ask(request, operation)
        said = await run_in_threadpool(office.ask, caller, operation, ask)
        return Response(said.model_dump_json(), media_type="application/json")

    app.add_api_route(
        BASE + str(operation.path),
        route,
        methods=[operation.verb],
        name=operation.name,
        response_model=operation.says,
        summary=operation.action,
    )


def admitted(office: Office, operation: Operation[Any, Any], token: str | None) -> Caller:
    """Who asks, before a word of the request is read. Raises: NotKnown, Forbidden."""
    caller = caller_of(office.wiring.store, token)
    office.admitted(caller, operation)
    return caller


def bearer(request: Request) -> str | None:
    """The token of the request, None where it has none."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if kind.lower() == "bearer" else None


async def read_ask(request: Request, operation: Operation[Any, Any]) -> Any:
    """The closed value that the request holds. Raises: UserError."""
    fields: dict[str, Any] = dict(request.path_params)
    if operation.verb == "POST":
        fields = _joined(fields, await read_json(request))
    else:
        fields = _joined(fields, dict(request.query_params))
    try:
        return operation.ask.model_validate(fields, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(word) for word in first["loc"]) or "the body"
        said = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise UserError(f"{plain(name, 80)}: {said[:1].lower()}{plain(said[1:], 300)}") from None


def _joined(path: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """What the path names cannot be named again."""
    if both := set(path) & set(rest):
        raise UserError(f"{', '.join(sorted(both))}: named by the path already")
    return path | rest


async def read_json(request: Request) -> dict[str, Any]:
    """The body, an object; nothing is an empty one. Raises: UserError."""
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > LARGEST_BODY:
            raise UserError(f"the body is larger than {LARGEST_BODY >> 10} KiB")
    if not data.strip():
        return {}
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise UserError("the body is no JSON") from None
    if not isinstance(body, dict):
        raise UserError("the body is no JSON object")
    return body


def _metrics(wiring: "Callable[[], Wiring]") -> Any:
    figures = Metrics(datetime.now(UTC))

    async def metrics(request: Request) -> Response:
        """For Prometheus, with a viewer's token."""
        token = bearer(request)

        def scraped() -> bytes:
            office = Office(wiring())
            caller_of(office.wiring.store, token).may(Action.READ, ())
            return figures.scrape(office.wiring.store)

        return Response(await run_in_threadpool(scraped), media_type=CONTENT_TYPE_LATEST)

    return metrics


def _events(wiring: "Callable[[], Wiring]") -> Any:
    async def events(request: Request, run: str) -> Response:
        """The journal as server-sent events, from `Last-Event-ID` on, until the run ends."""
        door = LocalDoor(Office(wiring()), await run_in_threadpool(_caller, wiring, bearer(request)))
        last = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
        if not last.isdigit() or len(last) > 9:
            raise UserError("after: a whole number")
        ask = asks.Log(run=run[:200].replace("\0", "?") or "?", after=int(last))
        first = await run_in_threadpool(door.ask, LOG, ask)
        return StreamingResponse(stream(door, ask, first), media_type="text/event-stream", headers=NO_STORE)

    return events


async def stream(door: LocalDoor, ask: asks.Log, page: LogLines) -> AsyncIterator[str]:
    """Events of a journal, and a comment now and then so that nobody in between closes the line."""
    quiet = 0.0
    while True:
        for line in page.lines:
            yield f"id: {line.seq}\nevent: entry\ndata: {line.model_dump_json()}\n\n"
            ask = ask.model_copy(update={"after": line.seq})
        if page.ended and not page.more:
            yield f"event: end\ndata: {json.dumps({'outcome': page.outcome})}\n\n"
            return
        if not page.more:
            await asyncio.sleep(SSE_LOOK)
            quiet = 0.0 if page.lines else quiet + SSE_LOOK
            if quiet >= SSE_QUIET:
                quiet = 0.0
                yield ": still here\n\n"
        page = await run_in_threadpool(door.ask, LOG, ask)


def _caller(wiring: "Callable[[], Wiring]", token: str | None) -> Caller:
    return caller_of(wiring().store, token)


async def healthz() -> dict[str, str]:
    """The process answers. Says nothing of any run."""
    return {"status": "ok"}


async def _moss_error(request: Request, error: Exception) -> Response:
    status = next((code for kind, code in STATUS_OF if isinstance(error, kind)), 503)
    body = {"error": type(error).__name__, "sentence": plain(error, 600), "mend": getattr(error, "mend", None)}
    return JSONResponse(body, status, {"WWW-Authenticate": "Bearer"} if status == 401 else None)


async def _broken(request: Request, error: Exception) -> Response:
    """Ours: recorded whole in the log, told without a word of what is inside."""
    log.error("request broke", path=request.url.path, exc_info=error)
    said = "something is wrong in MOSS itself; its log says what"
    return JSONResponse({"error": "MossError", "sentence": said, "mend": None}, 500)


async def _http_error(request: Request, error: Exception) -> Response:
    code = getattr(error, "status_code", 400)
    body = {"error": "UserError", "sentence": plain(getattr(error, "detail", "wrong request"), 200), "mend": None}
    return JSONResponse(body, code)
