"""Owns how each phase of a swap is performed on the live target. Never decides what follows (see `domain.swap`).

Everything is idempotent by the swap's key, so a controller that was killed performs the open phase again. Invariant:
no error leaves a phase: what goes wrong is its result, and the machine takes the swap on or back.
"""

import asyncio
from collections.abc import Awaitable, Callable

from moss.domain.ids import Digest, Key
from moss.domain.run import Run
from moss.domain.swap import UNDER_HOLD, Phase, PhaseResult, Swap
from moss.engine.consents import refusal
from moss.engine.offload import offload
from moss.engine.own_sessions import canary_session
from moss.engine.parts import Parts
from moss.engine.pins import settings_changed
from moss.engine.readiness import MISSES, canary_fault, last_line, settled
from moss.errors import MossError, NotExpected
from moss.ports import Place, Probe, Readiness

LOOK = 0.2
"""seconds between two looks at the live agent: an exit is seen within a second"""


class Swapper:
    """Performs phases on `parts.target`. `look`: seconds between two looks at it."""

    def __init__(self, parts: Parts, *, look: float = LOOK) -> None:
        self._parts, self._look = parts, look
        self._target = parts.target
        self._held: set[Key] = set()
        self._phases: dict[Phase, Callable[[Run, Swap], Awaitable[PhaseResult]]] = {
            Phase.PREPARE: self._prepare,
            Phase.HOLD: self._hold,
            Phase.R_HOLD: self._hold,
            Phase.STOP: self._stop_old,
            Phase.R_STOP: self._stop_new,
            Phase.RS_STOP: self._stop_any,
            Phase.SNAPSHOT: self._snapshot,
            Phase.START: self._start_new,
            Phase.R_START: self._start_old,
            Phase.RS_START: self._start_old,
            Phase.PROBE: self._probe,
            Phase.R_PROBE: self._probe,
            Phase.RS_PROBE: self._probe,
            Phase.CANARY: self._canary,
            Phase.R_CANARY: self._canary,
            Phase.RS_CANARY: self._canary,
            Phase.RELEASE: self._release,
            Phase.R_RELEASE: self._release,
            Phase.UNHOLD: self._release,
            Phase.DOWN_RELEASE: self._release,
            Phase.WATCH: self._watch,
            Phase.RS_STATE: self._restore_state,
            Phase.SETTLE: self._settle,
            Phase.R_SETTLE: self._settle,
        }

    async def perform(self, run: Run) -> PhaseResult:
        """The open phase of the run's swap."""
        swap = run.swap
        assert swap is not None
        began = self._parts.clock.monotonic()
        try:
            await self._still_held(swap)
            result = await self._phases[swap.phase](run, swap)
        except NotExpected as error:
            result = PhaseResult(ok=False, because=str(error), stale=True)
        except MossError as error:
            result = PhaseResult(ok=False, because=f"{type(error).__name__}: {error}")
        return result.model_copy(update={"seconds": round(self._parts.clock.monotonic() - began, 3)})

    async def _prepare(self, run: Run, swap: Swap) -> PhaseResult:
        live = await offload(self._target.current)
        if live.image.digest != swap.old:
            return PhaseResult(ok=False, because=f"{live.image.name} runs, not the base of this run", stale=True)
        if not swap.undo and (changed := settings_changed(self._parts.settings, run)) is not None:
            return PhaseResult(ok=False, because=f"{changed}: start a new run", stale=True)
        if not swap.undo and (no := await offload(refusal, self._parts, run)) is not None:
            return PhaseResult(ok=False, because=no)
        await offload(self._parts.require_space, "a swap")
        image = await offload(self._parts.builder.find, swap.new)
        if image is None:
            return PhaseResult(ok=False, because=f"the image {swap.new[:19]} is gone")
        await offload(self._target.prepare, image, swap.key)
        return PhaseResult(ok=True)

    async def _still_held(self, swap: Swap) -> None:
        """A hold that ran out, or that another controller took, is taken again before the swap goes on under it.

        A restore goes on without one: that a proxy does not answer must not cost the state.
        """
        if swap.held_at is None or swap.phase not in UNDER_HOLD:
            return
        since = (self._parts.clock.now() - swap.held_at).total_seconds()
        if swap.key in self._held and 0 <= since < self._deadline:
            return
        try:
            await offload(self._target.hold, swap.key, self._parts.settings.live.grace_seconds, self._deadline)
            self._held.add(swap.key)
        except MossError:
            if swap.phase is Phase.STOP:
                raise

    @property
    def _deadline(self) -> float:
        """Seconds that a hold lasts."""
        settings = self._parts.settings
        grace = settings.live.grace_seconds
        return settings.swap.hold_deadline_seconds or 2 * grace + settings.live.start_seconds + 30

    async def _hold(self, run: Run, swap: Swap) -> PhaseResult:
        grace = self._parts.settings.live.grace_seconds
        held = await offload(self._target.hold, swap.key, grace, self._deadline)
        self._held.add(swap.key)
        because = "" if held.complete else f"turns in flight did not end within {grace:g} s"
        return PhaseResult(ok=held.complete, because=because, drained=held.drained)

    async def _stop(self, swap: Swap, expected: Digest) -> PhaseResult:
        await offload(self._target.stop, swap.key, expected)
        return PhaseResult(ok=True)

    async def _stop_old(self, run: Run, swap: Swap) -> PhaseResult:
        return await self._stop(swap, swap.old)

    async def _stop_new(self, run: Run, swap: Swap) -> PhaseResult:
        if (await offload(self._target.current)).image.digest == swap.old:
            return PhaseResult(ok=True)  # it was stopped before, and the old one started: nothing of it runs
        return await self._stop(swap, swap.new)

    async def _stop_any(self, run: Run, swap: Swap) -> PhaseResult:
        return await self._stop(swap, (await offload(self._target.current)).image.digest)

    async def _snapshot(self, run: Run, swap: Swap) -> PhaseResult:
        taken = await offload(self._target.snapshot, swap.key, self._parts.settings.swap.snapshot_limit_bytes)
        if taken is None:
            return PhaseResult(ok=True, because="the state is larger than the snapshot limit", has_snapshot=False)
        return PhaseResult(ok=True, has_snapshot=True, bytes=taken.bytes)

    async def _start(self, swap: Swap, image: Digest) -> PhaseResult:
        await offload(self._target.start, swap.key, image)
        return PhaseResult(ok=True, boot=(await offload(self._target.current)).boot)

    async def _start_new(self, run: Run, swap: Swap) -> PhaseResult:
        return await self._start(swap, swap.new)

    async def _start_old(self, run: Run, swap: Swap) -> PhaseResult:
        return await self._start(swap, swap.old)

    async def _probe(self, run: Run, swap: Swap) -> PhaseResult:
        seconds = self._parts.settings.live.start_seconds
        probe = await settled(lambda: offload(self._target.probe), self._parts.clock, seconds, self._look / 4)
        match probe.readiness:
            case Readiness.READY:
                return PhaseResult(ok=True, boot=probe.boot)
            case Readiness.FAILED:
                return self._failed(probe).model_copy(update={"boot": probe.boot})
            case Readiness.STARTING:
                because = f"not ready after {seconds:g} s: {probe.detail}"
                return PhaseResult(ok=False, because=because, boot=probe.boot)

    def _failed(self, probe: Probe) -> PhaseResult:
        because = f"exited {probe.exit_code}" if probe.exit_code is not None else probe.detail
        return PhaseResult(ok=False, because=because, said=last_line(self._parts.redact, probe.said))

    async def _canary(self, run: Run, swap: Swap) -> PhaseResult:
        canary = self._parts.settings.canary
        host, port = await offload(self._target.address)
        key = Key(f"{swap.key}/{swap.phase}")
        session = await offload(canary_session, self._parts, run, key, on_live_state=True)
        answer = await offload(self._parts.turns.send, Place(host, port), session, canary.message, canary.seconds)
        fault = canary_fault(canary, answer)
        if fault is None or answer.error is None:
            return PhaseResult(ok=fault is None, because=fault or "")
        return self._failed(await offload(self._target.probe)).model_copy(update={"because": fault})

    async def _release(self, run: Run, swap: Swap) -> PhaseResult:
        released = await offload(self._target.release, swap.key)
        return PhaseResult(
            ok=True, waited=released.waited, longest_wait=released.longest_wait, refused=released.refused
        )

    async def _watch(self, run: Run, swap: Swap) -> PhaseResult:
        seconds, clock = self._parts.settings.swap.watch_seconds, self._parts.clock
        until = clock.monotonic() + seconds
        misses = 0
        while clock.monotonic() < until:
            probe = await offload(self._target.probe)
            if probe.exit_code is not None:
                return self._failed(probe)
            if swap.boot is not None and probe.boot is not None and probe.boot != swap.boot:
                return PhaseResult(ok=False, because="it was started anew while it was watched")
            misses = 0 if probe.readiness is Readiness.READY else misses + 1
            if misses >= MISSES:
                return PhaseResult(ok=False, because=f"not ready while it was watched: {probe.detail}")
            await asyncio.sleep(self._look)
        return PhaseResult(ok=True, answered=len(await offload(self._target.answered, swap.key)))

    async def _restore_state(self, run: Run, swap: Swap) -> PhaseResult:
        lost = tuple(one.id for one in await offload(self._target.answered, swap.key))
        await offload(self._target.restore_state, swap.key)
        return PhaseResult(ok=True, because="the snapshot is the state again", lost=lost)

    async def _settle(self, run: Run, swap: Swap) -> PhaseResult:
        soaks = swap.phase is Phase.SETTLE and not swap.undo and run.started.soak_hours > 0
        await offload(self._target.settle, swap.key, soaks)
        return PhaseResult(ok=True)
