"""Owns the controller's side of the gateway: signs tokens here, asks the rest over `/_moss/`. Never an upstream.

Standard library only, so that it costs nothing to import. A connection a call: safe from any thread.
"""

import http.client
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter

from moss.domain.evidence import Exchange
from moss.domain.ids import Key, RunId
from moss.errors import GatewayDown, GatewayError, UserError
from moss.gateway import recording
from moss.gateway.home import GatewayHome, GatewayState, secret_of
from moss.gateway.ledger import Spending
from moss.gateway.tokens import GRANT, Opened, admin_token, sign
from moss.ports import BoxRole, Grant, Usage

SECONDS = 30.0
MEND = "start it: moss serve"
USAGE = TypeAdapter(Usage)
SPENDING = TypeAdapter(list[Spending])


class HttpGateway:
    """`GatewayControl` over the running gateway of a home. Where it is, is read anew for each call."""

    def __init__(self, home: Path, seconds: float = SECONDS) -> None:
        self._home, self._seconds = GatewayHome(home), seconds

    def url(self, role: BoxRole) -> str:
        state = self._state()
        return f"http://{_reachable(state.host)}:{state.port}"

    def open(self, grant: Grant) -> str:
        opened = Opened.model_validate_json(self._ask("open", GRANT.dump_json(grant)))
        return sign(self._secret(), grant, opened)

    def usage(self, key: Key) -> Usage:
        return USAGE.validate_json(self._ask("usage", _json({"key": key})))

    def record(self, key: Key) -> Sequence[Exchange]:
        return _exchanges(self._ask("record", _json({"key": key})))

    def live_record(self, since: datetime, until: datetime) -> Sequence[Exchange]:
        body = _json({"since": since.isoformat(), "until": until.isoformat()})
        return _exchanges(self._ask("live_record", body))

    def close(self, key: Key) -> Usage:
        return USAGE.validate_json(self._ask("close", _json({"key": key})))

    def spending(self, run: RunId | None = None) -> Sequence[Spending]:
        """What was used by run, stage, upstream and model. Raises: GatewayDown."""
        return SPENDING.validate_json(self._ask("spending", _json({"run": run})))

    def boot(self) -> str | None:
        """The boot id of the gateway that answers here; None when none does."""
        try:
            status, body = self._send("GET", "/healthz", b"", {})
        except GatewayDown:
            return None
        answer = json.loads(body) if status == 200 else {}
        return str(answer["boot"]) if "boot" in answer else None

    def reload(self) -> None:
        """The gateway takes up its configuration file. Raises: GatewayDown, GatewayError."""
        self._ask("reload", b"{}")

    def stop(self) -> None:
        """The gateway ends in good order. Raises: GatewayDown."""
        self._ask("stop", b"{}")

    def _ask(self, route: str, body: bytes) -> bytes:
        headers = {"Authorization": f"Bearer {admin_token(self._secret())}", "Content-Type": "application/json"}
        status, answer = self._send("POST", f"/_moss/{route}", body, headers)
        if status != 200:
            raise GatewayError(f"the gateway refused `{route}` ({status}): {_said(answer)}")
        return answer

    def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        state = self._state()
        connection = http.client.HTTPConnection(_reachable(state.host), state.port, timeout=self._seconds)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            place = f"{state.host}:{state.port}"
            raise GatewayDown(f"the gateway at {place} does not answer ({type(error).__name__}); {MEND}") from None
        finally:
            connection.close()

    def _state(self) -> GatewayState:
        try:
            return GatewayState.model_validate_json(self._home.state.read_bytes())
        except (OSError, ValueError):
            raise GatewayDown(f"no gateway runs for {self._home.home}; {MEND}") from None

    def _secret(self) -> bytes:
        try:
            return secret_of(self._home.secret)
        except (OSError, UserError) as error:
            raise GatewayDown(f"the gateway's secret cannot be read: {error}") from None


def _reachable(host: str) -> str:
    """Where this host reaches a gateway that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{host}]" if ":" in host else host


def _exchanges(body: bytes) -> Sequence[Exchange]:
    try:
        return recording.load(body)
    except UserError as error:
        raise GatewayError(f"the gateway's record cannot be read: {error}") from None


def _json(value: dict[str, str | None]) -> bytes:
    return json.dumps(value).encode()


def _said(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return "no word"
