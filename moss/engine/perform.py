"""Owns which code performs which stage. Never decides what follows.

Every performer is idempotent by the step's key and gives a `Done`; what it raises the controller settles by the
policy table.
"""

from typing import assert_never

from moss.domain.batch import Batch
from moss.domain.budget import Spend
from moss.domain.events import BaselineResult, CheckResult, Stage, SwapResult, TrialsResult, VerdictAsked
from moss.domain.machine import Do, Done
from moss.domain.run import Run
from moss.engine.build import Building
from moss.engine.evaluate import evaluate
from moss.engine.journal import Journal
from moss.engine.offload import offload
from moss.engine.parts import Parts
from moss.engine.pins import settings_changed
from moss.engine.preflight import Preflight
from moss.engine.soak import Soak
from moss.engine.stages import Minds
from moss.engine.swapper import Swapper
from moss.engine.trials import Trials
from moss.errors import SettingsChanged, StoreBroken

AFTER_CONSENT = (Stage.PREFLIGHT, Stage.SWAP, Stage.SOAK)
"""These look at the settings themselves: an open swap goes on under any."""


class Performer:
    """Does one step of a run."""

    def __init__(
        self,
        parts: Parts,
        minds: Minds,
        building: Building,
        trials: Trials,
        preflight: Preflight,
        swapper: Swapper,
        soak: Soak,
    ) -> None:
        self._parts, self._minds, self._building, self._trials = parts, minds, building, trials
        self._preflight, self._swapper, self._soak = preflight, swapper, soak

    async def __call__(self, run: Run, do: Do, journal: Journal) -> Done:
        """Raises: MossError."""
        began = self._parts.clock.monotonic()
        done = await self._performed(run, do, journal)
        seconds = self._parts.clock.monotonic() - began
        spent = done.spent.model_copy(update={"seconds": seconds})
        if do.step.stage is Stage.LOCATE and do.step.attempt == 1:
            spent = spent + Spend(iterations=1)
        return Done(done.result, spent, seconds, done.prompt, done.transcript)

    async def _performed(self, run: Run, do: Do, journal: Journal) -> Done:
        if do.step.stage not in AFTER_CONSENT and (no := settings_changed(self._parts.settings, run)) is not None:
            raise SettingsChanged(f"{no}: put it back and moss resume {run.id}, or start a new run")
        match do.step.stage:
            case Stage.BASELINE:
                return await self._baseline(run, do, journal)
            case Stage.LOCATE | Stage.PLAN | Stage.PLAN_REVIEW | Stage.IMPLEMENT | Stage.CODE_REVIEW:
                return await self._minds.perform(run, do, await self._batch(run))
            case Stage.BUILD:
                return Done(await self._building.build(run, do))
            case Stage.CHECK:
                return Done(await self._building.check(run, do))
            case Stage.TRIAL:
                wave = await self._trials.candidate(run, do.step, journal, await self._batch(run))
                return Done(TrialsResult(ran=wave.ran, short=wave.short))
            case Stage.EVALUATE:
                return Done(await evaluate(self._parts, run, do, await self._batch(run)))
            case Stage.VERDICT:
                return Done(VerdictAsked())
            case Stage.PREFLIGHT:
                return await self._preflight.perform(run, do)
            case Stage.SWAP:
                phase = run.swap.phase if run.swap is not None else None
                return Done(SwapResult(phase=await self._swapper.perform(run), performed=phase))
            case Stage.SOAK:
                return Done(await self._soak.look(run))
            case Stage.CONSENT:
                raise AssertionError("consent is given, not performed")
            case _ as never:
                assert_never(never)

    async def _baseline(self, run: Run, do: Do, journal: Journal) -> Done:
        check: CheckResult | None = None
        if do.step.round == 1:
            check = await self._building.check_of(run, do.key, run.started.base.image)
            if check.ran and not check.ok:
                return Done(BaselineResult(ran=0, check=check))
        wave = await self._trials.baseline(run, do.step, journal, await self._batch(run))
        return Done(BaselineResult(ran=wave.ran, short=wave.short, check=check))

    async def _batch(self, run: Run) -> Batch:
        batch = await offload(self._parts.store.batch, run.started.batch)
        if batch is None or batch.evidence != run.started.evidence:
            raise StoreBroken(f"batch {run.started.batch} is gone or not what the run began with")
        return batch
