"""Owns the calls to model upstreams: the keys, and what may pass in either direction.

Never parses an answer. Invariant: only headers of the two lists pass; a key goes to its own upstream's host and to
nobody else: no redirect is followed, no proxy of the environment is used, an answer that repeats the key is blanked.
"""

import io
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp

from moss.config import Upstream
from moss.errors import UserError
from moss.gateway.config import resolve_key
from moss.gateway.speech import Cut, Speech
from moss.gateway.wire import Denied, Wire

TO_UPSTREAM = frozenset({"accept", "user-agent", "openai-beta", "idempotency-key"})
TO_BOX = frozenset({"retry-after", "retry-after-ms", "x-should-retry", "x-request-id", "content-encoding"})
TO_BOX_PREFIX = "x-ratelimit-"
ERROR_LIMIT = 1 << 20
KEEP_IDLE = 4.0
"""Idle connections are closed before servers close them (uvicorn: 5 s): else a good call meets a closed door."""


class Upstreams:
    """One client session for all upstreams."""

    def __init__(self, environ: Mapping[str, str], idle_seconds: float) -> None:
        self._environ = environ
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=idle_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def speak(
        self, upstream: Upstream, wire: Wire, raw: bytes, from_box: Mapping[str, str]
    ) -> AsyncIterator[Speech]:
        """Sends the bytes of a request on. Raises: Denied (no key, no connection, a redirect)."""
        key = self._key(upstream)
        headers = {name: value for name, value in from_box.items() if name.lower() in TO_UPSTREAM}
        headers |= {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        headers |= wire.key_headers(key) if key else {}
        assert upstream.url is not None
        try:
            answer = await self._open().post(
                join(upstream.url, wire.path),
                data=io.BytesIO(raw),
                headers=headers,
                allow_redirects=False,
                timeout=self._timeout,
            )
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as error:
            raise _lost(upstream, error) from None
        try:
            yield await self._speech(upstream, answer, key)
        finally:
            # a complete answer gave its connection back already; any other one ends here, at the upstream too
            answer.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_IDLE)
            self._session = aiohttp.ClientSession(
                connector=connector, auto_decompress=False, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    def _key(self, upstream: Upstream) -> str | None:
        if upstream.key is None:
            return None
        try:
            return resolve_key(upstream.key, self._environ)
        except UserError as error:
            sentence = f"upstream `{upstream.name}`: {error.sentence}"
            raise Denied(503, sentence, code="no_key", kind="server_error", fault=True) from None

    async def _speech(self, upstream: Upstream, answer: aiohttp.ClientResponse, key: str | None) -> Speech:
        if 300 <= answer.status < 400:
            sentence = f"upstream `{upstream.name}` answered with a redirect, which is not followed"
            raise Denied(502, sentence, code="redirect", kind="server_error", fault=True)
        if answer.status in (401, 403):
            # such bodies often quote a part of the key
            sentence = f"upstream `{upstream.name}` refused the gateway's key ({answer.status})"
            raise Denied(answer.status, sentence, code="upstream_key", kind="authentication_error", fault=True)
        headers = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() in TO_BOX or name.lower().startswith(TO_BOX_PREFIX)
        }
        kind = answer.headers.get("Content-Type", "application/octet-stream")
        body = _pieces(answer, key.encode() if key else b"", whole=answer.status >= 400)
        return Speech("live", answer.status, kind, body, headers, answer.content_length)


def join(base: str, path: str) -> str:
    """The address of a route at an upstream. `base` may end in `/v1` (as SDKs want it) or not."""
    base = base.rstrip("/")
    if urlsplit(base).path.endswith("/v1") and path.startswith("/v1/"):
        path = path.removeprefix("/v1")
    return base + path


async def _pieces(answer: aiohttp.ClientResponse, key: bytes, whole: bool) -> AsyncIterator[bytes]:
    """The answer as it comes; `whole`: an error's body in one piece, so that no key hides between two."""
    held = bytearray()
    try:
        async for piece in answer.content.iter_any():
            if whole and len(held) < ERROR_LIMIT:
                held += piece
            else:
                yield _blanked(bytes(held) + piece, key)
                held.clear()
    except (aiohttp.ClientError, TimeoutError) as error:
        if held:
            yield _blanked(bytes(held), key)
        raise Cut(f"the upstream's answer ended early ({type(error).__name__})") from None
    if held:
        yield _blanked(bytes(held), key)


def _blanked(data: bytes, key: bytes) -> bytes:
    return data.replace(key, b"*" * len(key)) if key else data


def _lost(upstream: Upstream, error: BaseException) -> Denied:
    if isinstance(error, TimeoutError):
        sentence, status = f"upstream `{upstream.name}` gave no answer in time", 504
    else:
        sentence, status = f"upstream `{upstream.name}` cannot be reached ({type(error).__name__})", 502
    sent = not isinstance(error, aiohttp.ClientConnectorError | ssl.SSLError)
    return Denied(status, sentence, code="upstream_lost", kind="server_error", fault=True, spent=sent)
