"""Owns how a notice is posted: a CloudEvents 1.0 JSON body with an HMAC-SHA256 signature. Never when, never again.

The secret is an argument; neither it nor the URL (which may hold a token) is in any error, name or log line.
Redirects are not followed: a signed body goes to the configured place or nowhere.
"""

import hashlib
import hmac
import json
import logging
from urllib.parse import urlsplit

from moss.errors import NotifyError, UserError
from moss.ports import Clock, Notice

SIGNATURE = "X-Moss-Signature"

_CONNECT_SECONDS = 3.0
_ANSWER_SECONDS = 10.0


def sign(secret: bytes, at: int, body: bytes) -> str:
    """The header's value: `t=<unix seconds>,v1=<hex>`, where v1 is the HMAC-SHA256 of `t.body`.

    A receiver computes the same over the bytes it got, compares in constant time and refuses an old `t`.
    """
    mac = hmac.new(secret, f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"


def cloud_event(notice: Notice, source: str) -> bytes:
    """The body in CloudEvents' structured mode. `id` is the notice's, so a receiver can drop repeats."""
    event = {
        "specversion": "1.0",
        "id": notice.id,
        "source": source,
        "type": f"dev.moss.{notice.kind}",
        "time": notice.at.isoformat(),
        "datacontenttype": "application/json",
        "data": dict(notice.body),
    }
    if notice.run is not None:
        event["subject"] = notice.run
    return json.dumps(event, ensure_ascii=True, allow_nan=False).encode()


class Webhook:
    """`source` is the CloudEvents source, a URI reference such as `/moss/clerk`. Raises: UserError for a bad URL."""

    def __init__(self, url: str, secret: bytes, clock: Clock, *, source: str = "/moss") -> None:
        self._url = url
        self._secret = secret
        self._clock = clock
        self._source = source
        self._host = _host(url)
        self.name = f"webhook-{self._host}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"

    def __repr__(self) -> str:
        return f"Webhook({self.name})"

    def send(self, notice: Notice) -> None:
        """Raises: NotifyError for any answer but 2xx, and for none."""
        import httpx

        # At INFO httpx logs every URL that it asks.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        body = cloud_event(notice, self._source)
        headers = {
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            "User-Agent": "moss",
            SIGNATURE: sign(self._secret, int(self._clock.now().timestamp()), body),
        }
        limit = httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS)
        try:
            # The environment's proxies and netrc are not asked: settings come in as arguments.
            with (
                httpx.Client(timeout=limit, follow_redirects=False, trust_env=False) as client,
                client.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotifyError(f"{self._host} gave no answer ({type(error).__name__})") from None
        if 300 <= status < 400:
            raise NotifyError(f"{self._host} answered {status}: redirects are not followed")
        if not 200 <= status < 300:
            raise NotifyError(f"{self._host} answered {status}")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "?"
    except ValueError:
        raise UserError(
            "the webhook's URL is not one", where="notify.url", mend="write it as https://host/path"
        ) from None
