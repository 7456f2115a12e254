"""Owns the controller's routes below `/_moss/`, and `/healthz`. Never a box's request.

Invariant: but for health, nothing answers without the admin token, and then only in JSON that `client` reads.
"""

import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from moss.domain.evidence import Exchange
from moss.domain.frozen import Frozen
from moss.domain.ids import Key, RunId
from moss.errors import UserError
from moss.gateway import recording
from moss.gateway.ledger import LIVE_KEY, Ledger
from moss.gateway.records import Records
from moss.gateway.switchboard import Switchboard
from moss.gateway.tokens import GRANT, admin_token
from moss.gateway.wire import Denied
from moss.ports import Usage

PREFIX = "/_moss/"
HEALTH = "/healthz"
BODY_LIMIT = 1 << 20
USAGE = TypeAdapter(Usage)


class OfKey(Frozen):
    key: Key


class OfRun(Frozen):
    run: RunId | None = None


class Between(Frozen):
    since: datetime
    until: datetime


class Admin:
    """`boot` and `config`: of the running gateway, shown by its health. `reload` and `stop` act on the process."""

    def __init__(
        self,
        board: Switchboard,
        ledger: Ledger,
        records: Records,
        secret: bytes,
        now: Callable[[], datetime],
        boot: str,
        reload: Callable[[], None],
        stop: Callable[[], None],
    ) -> None:
        self._board, self._ledger, self._records, self._now = board, ledger, records, now
        self._token, self._boot, self._reload_config, self._stop_process = admin_token(secret), boot, reload, stop
        self._routes: dict[str, Callable[[bytes], Awaitable[web.Response]]] = {
            "open": self._open,
            "close": self._close,
            "usage": self._usage,
            "spending": self._spending,
            "record": self._record,
            "live_record": self._live_record,
            "reload": self._reload,
            "stop": self._stop,
        }

    @staticmethod
    def owns(target: str) -> bool:
        return target == HEALTH or target.startswith(PREFIX)

    async def take(self, request: web.Request, target: str) -> web.Response:
        """Raises: Denied."""
        if target == HEALTH:
            return web.json_response({"ok": True, "boot": self._boot})
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(shown.encode(errors="replace"), self._token.encode()):
            raise Denied(401, "this route is the controller's", code="token", kind="authentication_error")
        route = self._routes.get(target.removeprefix(PREFIX))
        if route is None or request.method != "POST":
            raise Denied(404, "no such route", code="not_found", kind="not_found_error")
        body = await request.content.read(BODY_LIMIT)
        try:
            return await route(body)
        except ValidationError as error:
            first = error.errors()[0]
            raise Denied(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}", code="bad_request") from None
        except UserError as error:
            raise Denied(400, str(error), code="bad_request") from None

    async def _open(self, body: bytes) -> web.Response:
        opened = self._ledger.open(GRANT.validate_json(body), self._now())
        return _json(opened.model_dump_json())

    async def _close(self, body: bytes) -> web.Response:
        key = OfKey.model_validate_json(body).key
        self._ledger.revoke(key)
        await self._board.quiet(key, end=True)
        return self._used(key)

    async def _usage(self, body: bytes) -> web.Response:
        return self._used(OfKey.model_validate_json(body).key)

    async def _spending(self, body: bytes) -> web.Response:
        rows = self._ledger.spending(OfRun.model_validate_json(body).run)
        return _json(json.dumps([asdict(row) for row in rows]))

    async def _record(self, body: bytes) -> web.Response:
        key = OfKey.model_validate_json(body).key
        await self._board.quiet(key, end=False)
        for attempt in self._ledger.attempts(key):
            exchanges = self._records.of(key, attempt)
            if exchanges:
                return _lines(exchanges)
        return _lines(())

    async def _live_record(self, body: bytes) -> web.Response:
        between = Between.model_validate_json(body)
        await self._board.quiet(LIVE_KEY, end=False)
        return _lines(self._records.live_between(between.since, between.until))

    async def _reload(self, body: bytes) -> web.Response:
        self._reload_config()
        return _json('{"ok": true}')

    async def _stop(self, body: bytes) -> web.Response:
        self._stop_process()
        return _json('{"ok": true}')

    def _used(self, key: Key) -> web.Response:
        return _json(USAGE.dump_json(self._ledger.usage(key)).decode())


def _json(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")


def _lines(exchanges: Sequence[Exchange]) -> web.Response:
    return web.Response(body=recording.dump(exchanges), content_type="application/x-ndjson")
