"""Owns who answers a call, and lets them: upstream, recording, script, nobody. Never what it costs, never a socket.

The decision is `world.choose`; here it is fed and carried out. Invariant: what an earlier attempt of the same grant got
from a real upstream is served again to the same request, and not asked for twice.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import assert_never

from moss.config import Upstream
from moss.domain.evidence import Exchange
from moss.domain.frozen import sha256
from moss.domain.ids import Digest, Key
from moss.errors import UserError
from moss.gateway.artifacts import Artifacts
from moss.gateway.call import Call
from moss.gateway.config import GatewayConfig
from moss.gateway.ledger import Ledger
from moss.gateway.records import Records
from moss.gateway.script import Script, read_script
from moss.gateway.speech import Speaking, Speech, Spoken, empty, replayed, scripted, served_again
from moss.gateway.upstream import Upstreams
from moss.gateway.wire import Denied, Frames
from moss.gateway.world import Choice, Speaker, choose
from moss.ports import GatewayMode

MADE_KEPT = 4096
"""Requests of all boxes that are remembered for scripted faults that come once."""
PAID_KEPT = 64
"""Attempts whose predecessors' answers are kept in memory."""
Reserve = Callable[[Call, Upstream | None], Awaitable[None]]
"""Holds what a call may take, at an upstream that is paid (None: a stand-in). Raises: Denied."""


class Speakers:
    """All that can answer a box."""

    def __init__(self, ledger: Ledger, records: Records, upstreams: Upstreams, reserve: Reserve) -> None:
        self._ledger, self._records, self._upstreams, self._reserve = ledger, records, upstreams, reserve
        self._paid: dict[tuple[Key, int], Mapping[tuple[int, Digest], Exchange]] = {}
        self._made: OrderedDict[tuple[Key, int, str], None] = OrderedDict()

    def use(self, config: GatewayConfig) -> None:
        """Takes up a configuration."""
        self._config, self._artifacts = config, Artifacts(config.artifacts)

    @asynccontextmanager
    async def answer(self, call: Call, canonical: Digest | None, headers: Mapping[str, str]) -> AsyncIterator[Speech]:
        """The answer of whoever speaks; a refusal is an answer too, so that it is recorded. Raises: StoreError."""
        try:
            speaking = await self._speaking(call, canonical, headers)
            speech = await speaking.__aenter__()
        except Denied as denied:
            speaking = self._refusal(call, denied)
            speech = await speaking.__aenter__()
        try:
            yield speech
        finally:
            await speaking.__aexit__(None, None, None)

    def _refusal(self, call: Call, denied: Denied) -> Speaking:
        call.billed = call.billed and denied.spent
        call.fault = denied.fault
        frames = Frames("application/json", (call.wire.error(denied),))
        return Spoken(Speech(call.origin, denied.status, frames.content_type, _each(frames.pieces)))

    async def _speaking(self, call: Call, canonical: Digest | None, headers: Mapping[str, str]) -> Speaking:
        choice = self._choose(call, canonical)
        match choice.speaker:
            case Speaker.RECORDING:
                assert choice.exchange is not None
                self._again(call)
                return replayed(choice.exchange, self._config.replay_seconds)
            case Speaker.SCRIPT:
                call.origin = "script"
                await self._reserve(call, None)
                call.billed = True
                return self._scripted(self._script_of(call), call)
            case Speaker.EMPTY:
                return empty(call.wire, call.asked)
            case Speaker.NOBODY:
                call.origin = "script"
                sentence = f"request {call.ordinal} differs from the recording, and nobody may answer it"
                raise Denied(502, sentence, code="diverged", kind="server_error")
            case Speaker.UPSTREAM:
                return await self._from_upstream(call, canonical, headers)
            case _:
                assert_never(choice.speaker)

    def _choose(self, call: Call, canonical: Digest | None) -> Choice:
        grant, attempt = call.passed.grant, call.passed.attempt
        if grant.mode is not GatewayMode.REPLAY:
            return choose(grant, call.ordinal, Digest(""), {}, None)
        assert canonical is not None
        recording = self._artifacts.recording(grant.recording) if grant.recording else {}
        choice = choose(grant, call.ordinal, canonical, recording, self._ledger.diverged_at(grant.key, attempt))
        if choice.divergent:
            call.divergent = True
            self._ledger.diverge(grant.key, attempt, call.ordinal)
        return choice

    async def _from_upstream(self, call: Call, canonical: Digest | None, headers: Mapping[str, str]) -> Speaking:
        key, attempt = call.passed.grant.key, call.passed.attempt
        upstream = self._config.upstream(call.upstream)
        if upstream is None:
            raise Denied(502, "no upstream is granted to this box", code="no_upstream", kind="server_error", fault=True)
        paid = self._paid_for(key, attempt).get((call.ordinal, canonical)) if canonical else None
        if paid is not None:
            self._ledger.mark(key, attempt, live=True)
            return served_again(paid)
        if upstream.script is not None:
            call.origin = "script"
            await self._reserve(call, None)
            call.billed = True
            return self._scripted(_script_file(upstream), call)
        if upstream.api != call.wire.name:
            sentence = f"upstream `{upstream.name}` speaks {upstream.api}, not {call.wire.name}"
            raise Denied(404, sentence, code="other_api")
        await self._reserve(call, upstream)
        call.billed = True
        self._ledger.mark(key, attempt, live=True)
        assert call.hold is not None
        # of a limited box the bound of what was reserved is the upstream's too; all others' bytes stay as they are
        raw = call.wire.bound(call.asked, call.hold.want.said) if call.limited else call.asked.raw
        return self._upstreams.speak(upstream, call.wire, raw, headers)

    def _scripted(self, script: Script, call: Call) -> Speaking:
        return scripted(script, call.wire, call.asked, again=self._again(call))

    def _again(self, call: Call) -> bool:
        """Whether the box made this very request before, whoever answered it then; it counts as made from now on."""
        made = (call.passed.grant.key, call.passed.attempt, sha256(call.asked.raw))
        again = made in self._made
        self._made[made] = None
        while len(self._made) > MADE_KEPT:
            self._made.popitem(last=False)
        return again

    def _script_of(self, call: Call) -> Script:
        grant = call.passed.grant
        if grant.script is not None:
            return self._artifacts.script(grant.script)
        upstream = self._config.upstream(call.upstream)
        if upstream is None or upstream.script is None:
            raise Denied(502, "this box has no scripted model", code="no_script", kind="server_error", fault=True)
        return _script_file(upstream)

    def _paid_for(self, key: Key, attempt: int) -> Mapping[tuple[int, Digest], Exchange]:
        """Good answers of real upstreams in earlier attempts of the same grant, by ordinal and request."""
        if attempt <= 1:
            return {}
        if (key, attempt) not in self._paid:
            while len(self._paid) >= PAID_KEPT:
                self._paid.pop(next(iter(self._paid)))
            earlier = [each for before in range(1, attempt) for each in self._records.of(key, before)]
            good = (each for each in earlier if each.origin == "live" and each.status < 400)
            self._paid[key, attempt] = {
                (each.ordinal, each.canonical): each for each in good if each.whole and not each.cut
            }
        return self._paid[key, attempt]


def _script_file(upstream: Upstream) -> Script:
    assert upstream.script is not None
    try:
        return read_script(upstream.script.read_bytes(), str(upstream.script))
    except (OSError, UserError) as error:
        sentence = f"the script of upstream `{upstream.name}` cannot be used: {error}"
        raise Denied(502, sentence, code="bad_script", kind="server_error", fault=True) from None


async def _each(pieces: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
