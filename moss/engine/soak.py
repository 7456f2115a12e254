"""Owns the soak: hours after a swap in which health and the batch's fingerprints are looked at on real traffic.

Never takes anything back by itself: it says `bad` or `over`, the machine decides.
"""

from moss.domain.events import SoakLook
from moss.domain.machine import soak_end
from moss.domain.run import Run
from moss.domain.soak import worse
from moss.engine.offload import offload
from moss.engine.parts import Parts
from moss.ports import Readiness


class Soak:
    """Looks at a version that was switched to."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def look(self, run: Run) -> SoakLook:
        """One look. At the end of the soak the branch `moss/live` moves. Raises: TargetError, StoreError."""
        parts = self._parts
        probe = await offload(parts.target.probe)
        if probe.readiness is Readiness.FAILED:
            return SoakLook(over=False, bad=f"the agent is not healthy: {probe.detail}")
        seen = await offload(self._seen)
        turns, recurred, failed = await offload(self._counted, run, seen)
        before = seen if run.soak_from is None else run.soak_from
        if (reason := worse(turns, recurred, before, failed)) is not None:
            return SoakLook(over=False, bad=reason, seen=seen, turns=turns, recurred=recurred)
        over = parts.clock.now() >= soak_end(run)
        if over:
            await offload(self._publish, run)
            await offload(self._settle, run)
        return SoakLook(over=over, seen=seen, turns=turns, recurred=recurred)

    def _seen(self) -> int:
        return self._parts.store.counts().get("turns", 0)

    def _counted(self, run: Run, seen: int) -> tuple[int, int, int]:
        """Turns since the first look, those of them with a fingerprint of the batch, and the batch's own size."""
        store = self._parts.store
        batch, since = store.batch(run.started.batch), run.switched_at
        if batch is None or since is None:
            return 0, 0, 0
        recurred = sum(
            failure.turn.at >= since
            for fingerprint in batch.fingerprints
            for failure in store.failures(fingerprint, unbatched=True, limit=1000)
        )
        turns = seen - (seen if run.soak_from is None else run.soak_from)
        return max(turns, recurred), recurred, len(batch.cases)

    def _publish(self, run: Run) -> None:
        """Moves the branch `moss/live` to the version that is live now. Idempotent."""
        parts = self._parts
        chosen = next(one for one in run.iterations if run.verdict and one.number == run.verdict.chosen)
        assert chosen.work is not None
        parts.source.publish("moss/live", chosen.work)

    def _settle(self, run: Run) -> None:
        """Nothing is at stake any more: the log of what was answered since the swap ends."""
        if run.swap is not None and run.started.soak_hours > 0:
            self._parts.target.settle(run.swap.key)
