"""Owns a wave of trials: which are wanted now, side by side up to the boxes' bound, each recorded when it ends.

Never says what they prove. Invariant: a trial that is on record is not run again; which trials run, and what each
shows, does not depend on how many run at once.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice

from moss.domain import verdict
from moss.domain.batch import Batch
from moss.domain.budget import Spend
from moss.domain.case import Case
from moss.domain.events import Reserved, Step, TrialEnded
from moss.domain.ids import CaseId, Digest, Key
from moss.domain.record import proof_of
from moss.domain.run import Run
from moss.domain.verdict import Wanted
from moss.engine.journal import Journal
from moss.engine.offload import offload
from moss.engine.parts import Parts
from moss.engine.substrate_box import image_of
from moss.engine.trial_run import Asked, TrialRun
from moss.errors import StoreError
from moss.ports import Image


@dataclass(frozen=True, slots=True)
class Wave:
    """What a wave did. `short`: why not all that was wanted could run. Each trial's event says what it cost."""

    ran: int
    short: str | None


class Trials:
    """Runs waves."""

    def __init__(self, parts: Parts, runner: TrialRun) -> None:
        self._parts, self._runner = parts, runner

    async def baseline(self, run: Run, step: Step, journal: Journal, batch: Batch) -> Wave:
        """What the verdict still wants of the live version."""
        return await self._wave(run, step, journal, batch, verdict.baseline(proof_of(run)).wanted)

    async def candidate(self, run: Run, step: Step, journal: Journal, batch: Batch) -> Wave:
        """What the verdict still wants of the newest iteration's candidate (and, in extensions, of the live one)."""
        return await self._wave(run, step, journal, batch, verdict.judge(proof_of(run)).wanted)

    async def _wave(self, run: Run, step: Step, journal: Journal, batch: Batch, wanted: Sequence[Wanted]) -> Wave:
        asked = await self._asked(run, step, batch, wanted)
        fit, short = _affordable(run, step.key(run.id), len(asked))
        await journal.record(Reserved(key=step.key(run.id), amount=Spend(trials=fit)))
        gate = asyncio.Semaphore(self._parts.settings.boxes.parallel)
        try:
            async with asyncio.TaskGroup() as group:
                for one in asked[:fit]:
                    group.create_task(self._one(one, gate, step, journal))
        except ExceptionGroup as errors:
            raise _first(errors) from errors
        return Wave(fit, short)

    async def _one(self, asked: Asked, gate: asyncio.Semaphore, step: Step, journal: Journal) -> None:
        async with gate:
            trial = await self._runner.run(asked)
            await journal.record(TrialEnded(step=step, trial=trial))

    async def _asked(self, run: Run, step: Step, batch: Batch, wanted: Sequence[Wanted]) -> list[Asked]:
        cases: dict[CaseId, Case] = {case.id: case for case in (*batch.cases, *batch.guards)}
        images = {one.version: await image_of(self._parts, one.version) for one in wanted}
        changed = {version: await self._changed(run, image) for version, image in images.items()}
        done = {(trial.case, trial.version, trial.repeat) for trial in run.trials}
        return [
            Asked(
                key=_trial_key(run, step, one, repeat),
                run=run.id,
                case=cases[one.case],
                image=images[one.version],
                repeat=repeat,
                stage=str(step.stage),
                live_from=one.live_from,
                changed=changed[one.version],
            )
            for one in wanted
            for repeat in _missing(one, done)
        ]

    async def _changed(self, run: Run, image: Image) -> Mapping[str, Sequence[int]]:
        """Path -> the lines that a candidate changed; nothing for the live version."""
        base = run.started.base
        if image.digest == base.image or image.commit is None:
            return {}
        return await offload(self._parts.source.changed_lines, base.commit, image.commit)


def _missing(wanted: Wanted, done: Collection[tuple[CaseId, Digest, int]]) -> Iterator[int]:
    """The first repeats that are not on record: trials end in any order, so a killed wave leaves gaps."""
    free = (repeat for repeat in count(1) if (wanted.case, wanted.version, repeat) not in done)
    return islice(free, wanted.more)


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """The error that says most: one of the store's, since then nothing can be kept; else the first."""
    found = list(_leaves(errors))
    return next((error for error in found if isinstance(error, StoreError)), found[0])


def _leaves(errors: ExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in errors.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _trial_key(run: Run, step: Step, wanted: Wanted, repeat: int) -> Key:
    """`ev-01/1/trial/refund-twice-1/it/2`: by what is tried, so that a resumed wave finds its own trials."""
    version = "live" if wanted.version == run.started.base.image else "it"
    epoch = f"+{step.epoch}" if step.epoch else ""
    return Key(f"{run.id}{epoch}/{step.iteration}/{step.stage}/{wanted.case}/{version}/{repeat}")


def _affordable(run: Run, key: Key, wanted: int) -> tuple[int, str | None]:
    """How many of `wanted` trials the budget pays for, and its sentence where that is fewer."""
    held = Spend()
    for other, amount in run.reserved.items():
        held = held + (amount if other != key else Spend())
    used = run.spent + held
    lack = run.budget.lacks(used, Spend(trials=wanted))
    if lack is None:
        return wanted, None
    limit = run.budget.trials or 0
    return max(0, min(wanted, limit - used.trials)), lack
