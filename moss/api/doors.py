"""Owns the two ways to an operation: in this process, or over HTTP to a `moss serve` elsewhere. The same words in,
the same values and the same errors out.

Never prints, never decides. `httpx` is imported only where a server is named.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote

from moss.api import asks, says
from moss.api.caller import OPERATOR, Caller
from moss.api.operations import LOG, Office, Operation
from moss.domain.frozen import Frozen
from moss.domain.rights import Action
from moss.errors import Absent, Forbidden, MossError, NotKnown, Refused, UserError

if TYPE_CHECKING:
    import httpx

A = TypeVar("A", bound=Frozen)
S = TypeVar("S", bound=Frozen)

LOOK = 0.2
LOOK_FAR = 1.0
BASE = "/api/v1"


class Door(Protocol):
    """A way to operations."""

    @property
    def look(self) -> float:
        """Seconds between two looks at a journal that is followed."""

    def ask(self, operation: Operation[A, S], ask: A) -> S: ...


@dataclass(frozen=True)
class LocalDoor:
    """In this process, as the one who sits at the machine."""

    office: Office
    caller: Caller = OPERATOR
    look: float = LOOK
    before_change: Callable[[], None] = lambda: None
    """called before an operation that may do more than look"""

    def ask(self, operation: Operation[A, S], ask: A) -> S:
        if operation.action is not Action.READ:
            self.before_change()
        return self.office.ask(self.caller, operation, ask)


class HttpDoor:
    """To the server at `url`, with a token. Raises: what the server says; Refused when it does not answer."""

    look = LOOK_FAR

    def __init__(self, url: str, token: str | None, client: "httpx.Client | None" = None) -> None:
        import httpx

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._client = client or httpx.Client(base_url=url, headers=headers, timeout=30.0)
        except (httpx.InvalidURL, ValueError):
            raise UserError(f"{url!r} is no address of a server", mend="--server https://HOST[:PORT]") from None
        self._url = url

    def __enter__(self) -> "HttpDoor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(self, operation: Operation[A, S], ask: A) -> S:
        import httpx

        if operation.path is None:
            raise UserError(f"{operation.name} works only on the machine that MOSS runs on", mend="leave --server out")
        path, rest = _address(operation.path, ask.model_dump(mode="json", exclude_none=True))
        try:
            if operation.verb == "POST":
                answer = self._client.post(path, json=rest)
            else:
                answer = self._client.request(operation.verb, path, params=rest)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Refused(
                f"{self._url} does not answer ({type(error).__name__})", mend="is moss serve running there?"
            ) from None
        if answer.status_code != 200:
            raise _raised(answer)
        try:
            return operation.says.model_validate_json(answer.content)
        except ValueError:
            raise Refused(f"{self._url} answers in words of another version", mend="use the same MOSS here") from None


def _address(path: str, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The path with the ask's own fields filled in, and what is left of the ask."""
    for name in [name for name in fields if f"{{{name}}}" in path]:
        path = path.replace(f"{{{name}}}", quote(str(fields.pop(name)), safe=""))
    return BASE + path, fields


RAISED: dict[str, type[UserError] | type[Refused]] = {
    one.__name__: one for one in (UserError, Absent, Refused, Forbidden, NotKnown)
}


def _raised(answer: "httpx.Response") -> MossError:
    """The error that the server's answer names."""
    try:
        body = answer.json()
        kind = RAISED.get(body["error"], Refused)
        return kind(str(body["sentence"])[:2000], mend=str(body["mend"])[:500] if body.get("mend") else None)
    except (ValueError, KeyError, TypeError):
        return Refused(f"the server answered {answer.status_code}", mend="is it a moss serve?")


def follow(door: Door, run: str, after: int = 0) -> Iterator[says.LogLines]:
    """Pages of a journal as they come, until the run ends or waits for a person. The last page says which."""
    while True:
        page = door.ask(LOG, asks.Log(run=run, after=after))
        after = page.lines[-1].seq if page.lines else after
        yield page
        if page.more:
            continue
        if page.ended or page.waits:
            return
        time.sleep(door.look)
