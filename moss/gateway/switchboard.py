"""Owns the way of a model call: allowed, numbered, reserved, spoken, settled, recorded. Never HTTP's details, nor who
speaks (`speakers`).

Invariants: nothing is sent to an upstream before it is reserved; whatever happens to a call (the box leaves, the
upstream dies, the gateway stops) it is settled and recorded exactly once; a closed grant has no call in flight.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from moss.config import Upstream
from moss.domain.ids import Digest, Key
from moss.errors import StoreError
from moss.gateway.call import Call, Redact, redact_turn
from moss.gateway.canonical import canonical_digest
from moss.gateway.config import GatewayConfig
from moss.gateway.ledger import LIVE_KEY, Full, Ledger, Want
from moss.gateway.prices import PriceTable
from moss.gateway.records import Records
from moss.gateway.speakers import Speakers
from moss.gateway.speech import Speech
from moss.gateway.tokens import Pass
from moss.gateway.upstream import Upstreams
from moss.gateway.wire import Asked, Denied, Wire
from moss.ports import GatewayMode

log = structlog.get_logger()

THREAD_FROM = 256 << 10
"""Requests of so many bytes are parsed and hashed beside the loop."""
SAID_UNSTATED = 16_384
"""Tokens that are reserved for an answer whose request states no bound."""
AT_ONCE = 64
"""Calls of one box in flight."""
DRAIN_SECONDS = 2.0
"""How long a record waits for calls that are just ending."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request of a box as the server took it: who, what, to which upstream, in which turn."""

    passed: Pass
    raw: bytes
    upstream: str | None
    turn: str | None
    headers: Mapping[str, str]


class Switchboard:
    """All calls of one gateway."""

    def __init__(
        self,
        config: GatewayConfig,
        ledger: Ledger,
        records: Records,
        upstreams: Upstreams,
        prices: PriceTable,
        redact: Redact,
        now: Callable[[], datetime],
    ) -> None:
        self._ledger, self._records = ledger, records
        self._redact, self._now = redact, now
        self._flying: dict[Key, set[asyncio.Future[object]]] = {}
        self._keeping: dict[Key, set[asyncio.Future[object]]] = {}
        self._settled = asyncio.Condition()
        self._speakers = Speakers(ledger, records, upstreams, self._reserve)
        self.use(config, prices)

    def use(self, config: GatewayConfig, prices: PriceTable) -> None:
        """Takes up a configuration; calls in flight keep theirs."""
        self.config, self._prices = config, prices
        self._speakers.use(config)
        self._volatile = tuple(re.compile(pattern) for pattern in config.volatile)

    # ---------------------------------------------------------------- one call

    @asynccontextmanager
    async def call(self, wire: Wire, arrival: Arrival) -> AsyncIterator[tuple[Call, Speech]]:
        """A call and the answer that is about to be spoken; settled and recorded when the block ends.

        Raises: Denied before the request is counted (no request of this API, not allowed).
        """
        task = asyncio.current_task()
        assert task is not None
        key = arrival.passed.grant.key
        if key != LIVE_KEY and len(self._flying.get(key, ())) >= AT_ONCE:
            raise Denied(
                429, f"this box asks {AT_ONCE} things at once already", code="too_many", kind="rate_limit_error"
            )
        call = await self._begin(wire, arrival)
        _note(self._flying, key, task)
        try:
            canonical = await self._canonical_now(call)
            async with self._speakers.answer(call, canonical, arrival.headers) as speech:
                call.begin(speech)
                yield call, speech
        except asyncio.CancelledError:
            call.left = True
            raise
        finally:
            self._settle(call)
            keeping = asyncio.ensure_future(self._keep(call))
            _note(self._keeping, key, keeping)
            keeping.add_done_callback(lambda done: _forget(self._keeping, key, done))
            _forget(self._flying, key, task)
            await asyncio.shield(keeping)

    async def _begin(self, wire: Wire, arrival: Arrival) -> Call:
        big = len(arrival.raw) >= THREAD_FROM
        asked = await asyncio.to_thread(wire.read, arrival.raw) if big else wire.read(arrival.raw)
        passed, now = arrival.passed, self._now()
        key = passed.grant.key
        try:
            upstream = self.upstream_of(passed, arrival.upstream)
            self._allow(passed, upstream, asked)
            self._recordable(passed)
        except Denied as denied:
            self._ledger.mark(key, passed.attempt, fault=denied.fault)
            raise
        turn = redact_turn(arrival.turn, self._redact) if key == LIVE_KEY else None
        ordinal = self._ledger.arrive(key, passed.attempt, turn or "", now)
        return Call(passed, wire, asked, upstream.name, ordinal, now, self.config.kept_bytes, turn)

    def upstream_of(self, passed: Pass, name: str | None) -> Upstream:
        """The upstream that was asked for, or the grant's first. Raises: Denied (403, 502)."""
        granted = passed.grant.upstreams
        if name is not None and name not in granted:
            raise Denied(403, f"upstream `{name[:40]}` is not granted to this box", code="upstream_denied")
        chosen = name or (granted[0] if granted else "")
        upstream = self.config.upstream(chosen)
        if upstream is None:
            if passed.grant.mode in (GatewayMode.SCRIPT, GatewayMode.REPLAY) and not chosen:
                return Upstream(name="scripted", script=Path("-"))
            sentence = f"the gateway has no upstream `{chosen}`" if chosen else "no upstream is granted to this box"
            raise Denied(502, sentence, code="no_upstream", kind="server_error", fault=True)
        return upstream

    @staticmethod
    def models_of(passed: Pass, upstream: Upstream) -> tuple[str, ...] | None:
        """The models that a box may use at an upstream; None: any."""
        granted, offered = passed.grant.models, upstream.models
        if granted and offered:
            return tuple(model for model in granted if model in offered)
        return granted or offered or None

    def _allow(self, passed: Pass, upstream: Upstream, asked: Asked) -> None:
        models = self.models_of(passed, upstream)
        if models is not None and asked.model not in models:
            raise Denied(403, f"model `{asked.model}` is not granted to this box", code="model_denied")

    def _recordable(self, passed: Pass) -> None:
        """What cannot be recorded is not sent. But the live agent serves users: it goes on unrecorded."""
        if passed.grant.key == LIVE_KEY:
            return
        try:
            full = self._records.full(passed.grant.key, passed.attempt)
        except OSError as error:
            sentence = f"the record of this box cannot be written: {error.strerror}"
            raise Denied(503, sentence, code="record", kind="server_error", fault=True) from None
        if full:
            raise Denied(429, "the record of this box is full", code="record_full", kind="rate_limit_error")

    # ---------------------------------------------------------------- the ledger

    async def _reserve(self, call: Call, upstream: Upstream | None) -> None:
        """Waits while calls in flight hold the room that is missing. Raises: Denied (402) when there is none."""
        grant, attempt = call.passed.grant, call.passed.attempt
        price = self._prices.price(call.asked.model)
        if upstream is not None and price is None and grant.max_money_usd is not None and grant.max_tokens is None:
            sentence = f"the price of model `{call.asked.model}` is unknown, so this box needs a token limit"
            raise Denied(402, sentence, code="unknown_price", kind="insufficient_quota")
        said = SAID_UNSTATED if call.asked.most_out is None else call.asked.most_out
        # a third of the bytes: more than tokenizers make of prose, source text or JSON
        want = Want(call.upstream, call.asked.model, len(call.asked.raw) // 3 + 1, said, price)
        async with self._settled:
            while isinstance(held := self._ledger.reserve(grant, attempt, want), Full):
                if not held.busy:
                    self._ledger.mark(grant.key, attempt, exhausted=True)
                    sentence = f"the budget of this box is spent: {held.sentence}"
                    raise Denied(402, sentence, code="budget", kind="insufficient_quota")
                await self._settled.wait()
        call.hold = held

    def _settle(self, call: Call) -> None:
        try:
            self._account(call)
        except StoreError as error:
            # its hold stays: the room is counted as taken until a restart counts it as spent
            log.error("a call could not be settled", key=call.passed.grant.key, error=str(error))

    def _account(self, call: Call) -> None:
        key, attempt = call.passed.grant.key, call.passed.attempt
        if call.hold is not None:
            tokens = call.tokens()
            price = self._prices.price(call.asked.model)
            self._ledger.settle(call.hold, tokens, price.cost(tokens) if price else 0)
            if call.limited and call.overruns:
                self._ledger.mark(key, attempt, exhausted=True)
        if call.fault or (call.meter is not None and self._own_fault(call)):
            self._ledger.mark(key, attempt, fault=True)

    def _own_fault(self, call: Call) -> bool:
        """The upstream's own: not a recorded fault, not one that the trial's script asks for."""
        upstream = self.config.upstream(call.upstream)
        stand_in = call.origin == "script" and upstream is not None and call.passed.grant.script is None
        if not call.billed or not (call.origin == "live" or stand_in):
            return False
        return call.cut or call.status >= 500 or call.status == 429

    # ---------------------------------------------------------------- the record

    async def _canonical_now(self, call: Call) -> Digest | None:
        """The request's canonical form where it decides who speaks."""
        grant = call.passed.grant
        if grant.mode is GatewayMode.REPLAY or (call.passed.attempt > 1 and grant.key != LIVE_KEY):
            return await self._canonical(call)
        return None

    async def _canonical(self, call: Call) -> Digest:
        # over the redacted request: recordings hold redacted text, and a trial sends it again
        def work() -> Digest:
            return canonical_digest(call.wire.path, self._redact(call.asked.raw), self._volatile)

        return await asyncio.to_thread(work) if len(call.asked.raw) >= THREAD_FROM else work()

    async def _keep(self, call: Call) -> None:
        async with self._settled:
            self._settled.notify_all()
        canonical = await self._canonical(call)
        big = len(call.asked.raw) + call.kept >= THREAD_FROM
        exchange = (
            await asyncio.to_thread(call.exchange, canonical, self._redact)
            if big
            else call.exchange(canonical, self._redact)
        )
        key, attempt = call.passed.grant.key, call.passed.attempt
        try:
            if key == LIVE_KEY:
                self._records.add_live(exchange)
            else:
                self._records.add(key, attempt, exchange)
        except OSError as error:
            log.error("an exchange could not be recorded", key=key, ordinal=call.ordinal, error=str(error))
            with suppress(StoreError):
                self._ledger.mark(key, attempt, fault=True)

    async def quiet(self, key: Key, *, end: bool) -> None:
        """Waits a moment until no call of a grant is in flight; `end`: then ends those that are."""
        await _done(self._flying.get(key, set()))
        if end:
            for task in self._flying.get(key, ()):
                task.cancel()
            await _done(self._flying.get(key, set()))
        await _done(self._keeping.get(key, set()))


def _note(tasks: dict[Key, set[asyncio.Future[object]]], key: Key, task: asyncio.Future[Any]) -> None:
    tasks.setdefault(key, set()).add(task)


def _forget(tasks: dict[Key, set[asyncio.Future[object]]], key: Key, task: asyncio.Future[Any]) -> None:
    tasks[key].discard(task)
    if not tasks[key]:
        del tasks[key]


async def _done(tasks: set[asyncio.Future[object]]) -> None:
    if tasks:
        await asyncio.wait(set(tasks), timeout=DRAIN_SECONDS)
