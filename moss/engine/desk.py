"""Owns what people do with runs: start, stop, resume, rewind, reject, approve, roll back, pause. CLI and API call it.

Never performs a step and never asks who somebody is (see `api`: rights come first). Each call is one event in the
journal, or a refusal in one sentence with nothing changed.
"""

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from moss.config import NO_CANARY, NO_CANARY_MEND, ExecTurn
from moss.domain.batch import Batch, BatchState
from moss.domain.budget import Budget, Spend
from moss.domain.consent import Consent
from moss.domain.depth import Depth
from moss.domain.events import (
    MIND_STAGES,
    REWINDABLE,
    Consented,
    Ended,
    Event,
    Moved,
    Outcome,
    Stage,
    Started,
    Step,
    StopAsked,
    UndoAsked,
    Version,
)
from moss.domain.facts import PAUSED
from moss.domain.ids import BatchId, Digest, Key, RunId
from moss.domain.policy import policy_hash
from moss.domain.run import Run
from moss.domain.swap import Swap
from moss.engine import consents
from moss.engine.aftermath import follow
from moss.engine.journal import AGAIN, append_next, create, load
from moss.engine.parts import Parts
from moss.engine.pins import pins_of, settings_changed
from moss.engine.second_run import refuse_second
from moss.errors import Refused, SeqTaken
from moss.ports import Claim

ALONE_SECONDS = 5.0
SWAPPED = (Outcome.COMMITTED, Outcome.ROLLED_BACK, Outcome.REVERTED)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks of a new run; None: as `moss.toml` says."""

    by: str
    depth: Depth | None = None
    budget: Budget | None = None
    coder: str | None = None
    anyway: bool = False


class Desk:
    """Takes wishes, one event each."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    # ------------------------------------------------------------------ starting

    def start(self, batch_id: BatchId, wish: Wish) -> Run:
        """A new run over a sealed batch. Raises: Refused with the reason; nothing is spent."""
        batch = self._store.batch(batch_id)
        if batch is None:
            raise Refused(f"there is no batch {batch_id}", mend="moss batches lists them")
        refuse_second(self._store, batch.id, self._parts.clock.now())
        if isinstance(self._parts.settings.turn, ExecTurn):
            raise Refused(f"{NO_CANARY}. Nothing was spent.", mend=NO_CANARY_MEND)
        base = self.base()
        event = self._started(self._store.new_run_id(), batch, base, wish)
        if lack := event.budget.lacks(Spend(), _first_reserve(event)):
            raise Refused(f"the first stage does not fit the budget ({lack}). Nothing was spent.")
        run = create(self._store, event, self._parts.clock.now())
        self._store.set_batch(batch.id, BatchState.RUNNING, run.id)
        return run

    def base(self) -> Version:
        """The live version, as far as MOSS knows its commit. Raises: Refused when it does not."""
        live = self._parts.target.current().image
        commit = live.commit
        if commit is None:
            raise Refused(f"the live agent runs {live.name}; no commit is known for it", mend="moss adopt --commit REF")
        return Version(commit=commit, image=live.digest, name=live.name, registry=live.registry)

    def _started(self, run: RunId, batch: Batch, base: Version, wish: Wish) -> Started:
        settings = self._parts.settings
        budget = wish.budget or settings.policy.budget
        return Started(
            run=run,
            substrate=settings.substrate.name,
            batch=batch.id,
            label=batch.label,
            evidence=batch.evidence,
            policy=policy_hash(settings.substrate, settings.evidence, settings.trials, settings.swap, settings.consent),
            pinned=pins_of(settings),
            base=base,
            cases=tuple(case.id for case in batch.cases),
            guards=tuple(case.id for case in batch.guards),
            depth=wish.depth or settings.policy.depth,
            budget=budget,
            reserve={stage: self._reserve(stage) for stage in MIND_STAGES},
            scripted=self._scripted(wish),
            coder=wish.coder,
            by=wish.by,
            approvals=0 if settings.consent.auto else settings.consent.needed,
            consent_hours=settings.consent.valid_hours,
            soak_hours=settings.swap.soak_hours,
            preflight=settings.swap.preflight,
            anyway=wish.anyway,
            next=Step(stage=Stage.BASELINE),
        )

    def _reserve(self, stage: Stage) -> Spend:
        role = self._parts.settings.role(stage.value)
        return Spend(money_usd=role.money_usd, tokens=role.tokens, iterations=1 if stage is Stage.LOCATE else 0)

    def _scripted(self, wish: Wish) -> tuple[str, ...]:
        """Stand-ins among coders and upstreams: named wherever the run's results show."""
        settings = self._parts.settings
        agents = [self._parts.coder(settings.role(stage.value, wish.coder)) for stage in MIND_STAGES]
        coders = dict.fromkeys(f"coder {agent.name}" for agent in agents if agent.scripted)
        models = [f"model {upstream.name}" for upstream in settings.gateway.upstreams if upstream.script is not None]
        return (*coders, *models)

    # ------------------------------------------------------------------ stop, resume, rewind, reject

    def stop(self, run_id: RunId, by: str) -> Run:
        """Asks a run to end at its next safe point."""

        def asked(run: Run) -> StopAsked | None:
            if run.outcome is not None:
                raise Refused(f"{run_id} has ended already: {run.outcome}")
            return StopAsked(by=by) if run.stop is None else None

        return self._append(run_id, asked)

    def resume(self, run_id: RunId, by: str, budget: Budget | None = None) -> Run:
        """Goes on where a run was stopped, ran out of budget or failed. Raises: Refused."""

        def resumed(run: Run) -> Moved:
            if run.outcome not in (Outcome.STOPPED, Outcome.OUT_OF_BUDGET, Outcome.FAILED):
                raise Refused(f"{run_id} cannot be resumed: it {_state(run)}")
            if run.last is None or run.last.stage in (Stage.SWAP, Stage.SOAK):
                raise Refused(f"{run_id} ended in its swap: start a new run")
            again = run.last.model_copy(update={"epoch": run.last.epoch + 1, "attempt": 1})
            return Moved(what="resumed", by=by, budget=budget, next=again)

        return self._append_alone(run_id, resumed)

    def rewind(self, run_id: RunId, to: Stage, by: str, iteration: int | None = None) -> Run:
        """Starts again from an earlier stage (of the newest iteration unless told). Raises: Refused."""

        def rewound(run: Run) -> Moved:
            number = iteration if iteration is not None else (run.iteration.number if run.iteration else 0)
            self._refuse_rewind(run, to, number)
            epoch = (run.next or run.last or Step(stage=to)).epoch + 1
            step = Step(stage=to, iteration=0 if to is Stage.BASELINE else number, epoch=epoch)
            return Moved(what="rewound", by=by, next=step)

        return self._append_alone(run_id, rewound)

    def _refuse_rewind(self, run: Run, to: Stage, number: int) -> None:
        if run.outcome in SWAPPED or run.swap is not None:
            raise Refused(f"{run.id} has begun its swap", mend="start a new run, or moss rollback")
        if to not in REWINDABLE:
            raise Refused(f"{to} cannot be rewound to", mend="one of: " + ", ".join(REWINDABLE))
        if to is not Stage.BASELINE and not 1 <= number <= len(run.iterations):
            raise Refused(f"{run.id} has no iteration {number}")

    def reject(self, run_id: RunId, by: str, because: str) -> Run:
        """Says no to a run that waits for consent."""

        def rejected(run: Run) -> Ended:
            _refuse_unless_waiting(run)
            return Ended(outcome=Outcome.REJECTED, because=f"{by}: {because}"[:1000])

        run = self._append(run_id, rejected)
        follow(self._store, run, self._parts.clock.now())
        return run

    # ------------------------------------------------------------------ consent, undo, brake

    def approve(self, consent: Consent) -> Run:
        """Takes a signed statement. Raises: Refused with one sentence; nothing was changed."""

        def consented(run: Run) -> Consented:
            waits_at = _refuse_unless_waiting(run)
            live = self._parts.target.current().image.digest
            if live != run.started.base.image:
                raise Refused(f"the live version is no longer the base of {run.id}: it will end stale")
            if (no := settings_changed(self._parts.settings, run)) is not None:
                raise Refused(f"{no}. Nothing was changed.", mend=f"put it back, or moss stop {run.id} and start anew")
            enough = consents.arrive(self._parts, run, consent)
            preflight = Step(stage=Stage.PREFLIGHT, iteration=waits_at.iteration, epoch=waits_at.epoch)
            following = preflight if enough else None
            return Consented(consent=consent, approver=consent.approver, enough=enough, next=following)

        return self._append(consent.statement.run, consented)

    def rollback(self, run_id: RunId | None, by: str, because: str) -> Run:
        """Takes back what a run made live: the one given, else the one whose candidate is live now."""
        live = self._parts.target.current().image.digest
        chosen = run_id or self._made_live(live).id
        return self._append_alone(chosen, lambda run: self._undo(run, live, by, because))

    def _undo(self, run: Run, live: Digest, by: str, because: str) -> UndoAsked:
        if run.outcome is not Outcome.COMMITTED and not (run.next is not None and run.next.stage is Stage.SOAK):
            raise Refused(f"{run.id} has nothing to take back: it {_state(run)}")
        assert run.statement is not None
        if live != run.statement.candidate:
            raise Refused(f"what {run.id} made live is not what runs now", mend="moss status says what runs")
        if self._parts.builder.find(run.started.base.image) is None:
            raise Refused(f"the image of {run.started.base.name} is gone")
        epoch = (run.next or run.last or Step(stage=Stage.SWAP)).epoch + 1
        step = Step(stage=Stage.SWAP, iteration=run.verdict.chosen or 0 if run.verdict else 0, epoch=epoch)
        swap = Swap(key=Key(f"{step.key(run.id)}/undo"), old=live, new=run.started.base.image, undo=True)
        return UndoAsked(by=by, because=because[:1000], swap=swap, next=step)

    def _made_live(self, live: Digest) -> Run:
        for row in self._store.runs(limit=1000):
            if row.outcome == Outcome.COMMITTED or row.stage == Stage.SOAK:
                run = load(self._store, row.id)
                if run.statement is not None and run.statement.candidate == live:
                    return run
        raise Refused("nothing that MOSS made live runs now: there is nothing to take back")

    def pause(self, by: str) -> None:
        """The brake: no controller takes a step (an open swap is finished first)."""
        self._store.set_fact(PAUSED, by)

    def unpause(self) -> None:
        self._store.set_fact(PAUSED, None)

    def _append(self, run_id: RunId, wish: Callable[[Run], Event | None], claim: Claim | None = None) -> Run:
        """Appends what `wish` makes of the run as it is then: when something comes in between, it is asked again.

        Raises: Refused (the wish's own, or the run never stands still).
        """
        for _ in range(AGAIN):
            run = load(self._store, run_id)
            event = wish(run)
            if event is None:
                return run
            with contextlib.suppress(SeqTaken):
                return append_next(self._store, run, event, self._parts.clock.now(), claim)
        raise Refused(f"{run_id} moves on too fast to be changed", mend="try again")

    def _append_alone(self, run_id: RunId, wish: Callable[[Run], Event]) -> Run:
        """The same while no controller works on the run: its next result would overrule the wish. Raises: Refused."""
        load(self._store, run_id)
        claim = self._store.claim(run_id, f"desk:{uuid.uuid4().hex}", ALONE_SECONDS)
        if claim is None:
            raise Refused(
                f"{run_id} is at work", mend=f"try again, or moss stop {run_id} and wait until it has stopped"
            )
        try:
            run = self._append(run_id, wish, claim)
            if isinstance(run.next, Step) and run.swap is None:
                self._store.set_batch(run.started.batch, BatchState.RUNNING, run_id)
            return run
        finally:
            self._store.release(claim)


def _state(run: Run) -> str:
    """Where a run is, as words after "it"."""
    if run.outcome is not None:
        return f"ended {run.outcome}"
    return f"is at {run.next.stage}" if run.next is not None else "has nothing to do"


def _refuse_unless_waiting(run: Run) -> Step:
    if run.outcome is not None or run.next is None or run.next.stage is not Stage.CONSENT:
        raise Refused(f"{run.id} does not wait for consent: it {_state(run)}")
    return run.next


def _first_reserve(event: Started) -> Spend:
    return event.reserve.get(Stage.LOCATE, Spend())
