"""Owns a gateway in memory: `GatewayControl` for the controller, `ask` for what stands in for a box. Opens no socket.

It is held to the same conformance suite as the real one, and is made of the same pure parts.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from moss.domain.evidence import Chunk, Exchange
from moss.domain.frozen import sha256
from moss.domain.ids import Digest, Key
from moss.errors import TokenRefused
from moss.gateway.canonical import canonical_digest
from moss.gateway.chat import Chat
from moss.gateway.ledger import LIVE_KEY, Full, Ledger, Want
from moss.gateway.recording import load
from moss.gateway.script import Script, find_rule, read_script
from moss.gateway.tokens import Pass, sign, verify
from moss.gateway.wire import Asked, Denied, Said, Tokens
from moss.gateway.world import Speaker, choose
from moss.ports import BoxRole, Grant, Usage

SECRET = b"a secret of tests only, 32 bytes"
RealModel = Callable[[Asked], Said]


@dataclass(frozen=True, slots=True)
class BoxAnswer:
    """What a box got. `cut`: the connection ended before the answer did."""

    status: int
    body: bytes
    cut: bool = False


@dataclass(slots=True)
class _Call:
    passed: Pass
    asked: Asked
    upstream: str
    ordinal: int
    canonical: Digest
    origin: str = "live"
    divergent: bool = False
    fault: bool = False
    tokens: Tokens = field(default_factory=Tokens)


class MemoryGateway:
    """`upstreams` by name: a script (a stand-in, origin `script`) or a function (a real model, origin `live`).

    `stored`: where artifacts are that were not `put` here.
    """

    def __init__(
        self,
        upstreams: Mapping[str, Script | RealModel] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        stored: Callable[[Digest], bytes | None] = lambda digest: None,
    ) -> None:
        self._upstreams, self._now, self._stored = dict(upstreams or {}), now, stored
        self._ledger, self._wire, self._lock = Ledger(":memory:"), Chat(), threading.Lock()
        self._artifacts: dict[Digest, bytes] = {}
        self._records: dict[tuple[Key, int], list[Exchange]] = {}
        self._live: list[Exchange] = []

    def put(self, data: bytes) -> Digest:
        """An artifact that grants may name."""
        digest = Digest(sha256(data))
        self._artifacts[digest] = data
        return digest

    # ---------------------------------------------------------------- GatewayControl

    def url(self, role: BoxRole) -> str:
        return "http://gateway.invalid"

    def open(self, grant: Grant) -> str:
        with self._lock:
            return sign(SECRET, grant, self._ledger.open(grant, self._now()))

    def usage(self, key: Key) -> Usage:
        with self._lock:
            return self._ledger.usage(key)

    def record(self, key: Key) -> Sequence[Exchange]:
        with self._lock:
            attempts = self._ledger.attempts(key)
            return next((tuple(found) for each in attempts if (found := self._records.get((key, each)))), ())

    def live_record(self, since: datetime, until: datetime) -> Sequence[Exchange]:
        with self._lock:
            return tuple(each for each in self._live if since <= each.at < until)

    def close(self, key: Key) -> Usage:
        with self._lock:
            self._ledger.revoke(key)
            return self._ledger.usage(key)

    def shut(self) -> None:
        """Frees the ledger."""
        self._ledger.close()

    # ---------------------------------------------------------------- the box's side

    def ask(self, token: str, body: bytes, upstream: str | None = None, turn: str | None = None) -> BoxAnswer:
        """A model request of a box: refused or answered as the real gateway does it."""
        with self._lock:
            try:
                call = self._begin(token, body, upstream, turn)
            except Denied as denied:
                return BoxAnswer(denied.status, self._wire.error(denied))
            try:
                answer = self._answer(call)
            except Denied as denied:
                call.fault = denied.fault
                answer = BoxAnswer(denied.status, self._wire.error(denied))
            self._keep(call, answer, turn)
            return answer

    def _begin(self, token: str, body: bytes, name: str | None, turn: str | None) -> _Call:
        try:
            passed = verify(SECRET, token, self._now())
            self._ledger.admit(passed.grant.key, passed.attempt)
        except TokenRefused as error:
            raise Denied(401, str(error), code="token", kind="authentication_error") from None
        asked, grant = self._wire.read(body), passed.grant
        if name is not None and name not in grant.upstreams:
            raise Denied(403, f"upstream `{name}` is not granted to this box", code="upstream_denied")
        if grant.models and asked.model not in grant.models:
            raise Denied(403, f"model `{asked.model}` is not granted to this box", code="model_denied")
        counted = turn or "" if grant.key == LIVE_KEY else ""
        ordinal = self._ledger.arrive(grant.key, passed.attempt, counted, self._now())
        upstream = name or (grant.upstreams[0] if grant.upstreams else "scripted")
        return _Call(passed, asked, upstream, ordinal, canonical_digest(self._wire.path, asked.raw))

    def _answer(self, call: _Call) -> BoxAnswer:
        grant, attempt = call.passed.grant, call.passed.attempt
        recording = load(self._artifact(grant.recording)) if grant.recording else ()
        diverged_at = self._ledger.diverged_at(grant.key, attempt)
        by_ordinal = {each.ordinal: each for each in recording}
        choice = choose(grant, call.ordinal, call.canonical, by_ordinal, diverged_at)
        if choice.divergent:
            call.divergent = True
            self._ledger.diverge(grant.key, attempt, call.ordinal)
        if choice.exchange is not None:
            call.origin = "replay"
            return _again(choice.exchange)
        if choice.speaker is Speaker.UPSTREAM:
            return self._from_upstream(call)
        call.origin = "script"
        if choice.speaker is Speaker.SCRIPT:
            return self._scripted(call, self._script_of(grant, call.upstream))
        if choice.speaker is Speaker.EMPTY:
            return self._said(call, Said())
        raise Denied(502, "the request differs from the recording", code="diverged", kind="server_error")

    def _from_upstream(self, call: _Call) -> BoxAnswer:
        key, attempt = call.passed.grant.key, call.passed.attempt
        speaks = self._upstreams.get(call.upstream)
        if speaks is None:
            raise Denied(502, f"no upstream `{call.upstream}`", code="no_upstream", kind="server_error", fault=True)
        if isinstance(speaks, Script):
            call.origin = "script"
            return self._scripted(call, speaks)
        self._ledger.mark(key, attempt, live=True)
        for before in range(1, attempt):
            for each in self._records.get((key, before), []):
                if (each.ordinal, each.canonical, each.origin) == (call.ordinal, call.canonical, "live"):
                    return _again(each)
        return self._paid(call, speaks(call.asked))

    def _artifact(self, digest: Digest) -> bytes:
        found = self._artifacts.get(digest) or self._stored(digest)
        if found is None:
            raise Denied(502, "no such artifact", code="no_artifact", kind="server_error", fault=True)
        return found

    def _script_of(self, grant: Grant, upstream: str) -> Script:
        if grant.script is not None:
            return read_script(self._artifacts[grant.script])
        speaks = self._upstreams.get(upstream)
        if not isinstance(speaks, Script):
            raise Denied(502, "this box has no scripted model", code="no_script", kind="server_error", fault=True)
        return speaks

    def _scripted(self, call: _Call, script: Script) -> BoxAnswer:
        found = find_rule(script, self._wire.heard(call.asked))
        if found is None:
            raise Denied(500, "no rule of the scripted model fits", code="no_rule", kind="server_error", fault=True)
        rule, said = found
        stand_in = call.passed.grant.script is None
        fault = None if rule.fault is None or (rule.fault.once and self._again(call)) else rule.fault
        if fault is not None and fault.status is not None:
            raise Denied(fault.status, "a scripted fault", code="fault", kind="server_error", fault=stand_in)
        answer = self._paid(call, said)
        if fault is not None and fault.ends_after is not None and call.asked.stream:
            pieces = self._wire.say(said, call.asked).pieces
            return BoxAnswer(200, b"".join(pieces[: fault.ends_after]))
        cut_after = fault.cut_after if fault else None
        if cut_after is None or cut_after >= len(answer.body):
            return answer
        call.fault = stand_in
        return BoxAnswer(200, answer.body[:cut_after], cut=True)

    def _again(self, call: _Call) -> bool:
        key = call.passed.grant.key, call.passed.attempt
        before = self._live if key[0] == LIVE_KEY else self._records.get(key, [])
        return any(each.request == call.asked.raw for each in before)

    def _paid(self, call: _Call, said: Said) -> BoxAnswer:
        grant, attempt = call.passed.grant, call.passed.attempt
        most = 8192 if call.asked.most_out is None else call.asked.most_out
        want = Want(call.upstream, call.asked.model, len(call.asked.raw) // 3 + 1, most)
        hold = self._ledger.reserve(grant, attempt, want)
        if isinstance(hold, Full):
            self._ledger.mark(grant.key, attempt, exhausted=True)
            raise Denied(402, f"the budget of this box is spent: {hold.sentence}", code="budget")
        answer = self._said(call, said)
        meter = self._wire.meter(call.asked, "text/event-stream" if call.asked.stream else "application/json")
        meter.feed(answer.body)
        call.tokens = meter.tokens()
        self._ledger.settle(hold, call.tokens, 0)
        return answer

    def _said(self, call: _Call, said: Said) -> BoxAnswer:
        return BoxAnswer(200, b"".join(self._wire.say(said, call.asked).pieces))

    def _keep(self, call: _Call, answer: BoxAnswer, turn: str | None) -> None:
        key, attempt = call.passed.grant.key, call.passed.attempt
        if call.fault:
            self._ledger.mark(key, attempt, fault=True)
        exchange = Exchange(
            ordinal=call.ordinal,
            at=self._now(),
            upstream=call.upstream,
            path=self._wire.path,
            request=call.asked.raw,
            canonical=call.canonical,
            status=answer.status,
            chunks=(Chunk(data=answer.body),) if answer.body else (),
            cut=answer.cut,
            origin=call.origin,
            divergent=call.divergent,
            turn=turn if key == LIVE_KEY else None,
            tokens_in=call.tokens.sent,
            tokens_out=call.tokens.said,
        )
        if key == LIVE_KEY:
            self._live.append(exchange)
        else:
            self._records.setdefault((key, attempt), []).append(exchange)


def _again(exchange: Exchange) -> BoxAnswer:
    return BoxAnswer(exchange.status, b"".join(chunk.data for chunk in exchange.chunks), exchange.cut)
