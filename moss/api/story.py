"""Owns how a journal is told: entries as log lines, steps as stage lines, phases as swaps. Pure.

Never decides anything. Invariant: every entry is one line, also one that a newer MOSS wrote.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import assert_never

from moss.api.plain import count, plain, size
from moss.api.says import LogLine, StageLine, SwapSeen, SwapStep
from moss.domain.events import (
    BuildResult,
    CheckResult,
    CodeReviewResult,
    Consented,
    Ended,
    Event,
    ImplementResult,
    Moved,
    Outcome,
    PlanReviewResult,
    PreflightResult,
    Reserved,
    SoakLook,
    Stage,
    Started,
    StepDone,
    StepFailed,
    StopAsked,
    SwapResult,
    TrialEnded,
    TrialsResult,
    UndoAsked,
    VerdictAsked,
    read_event,
)
from moss.domain.journal import Entry
from moss.domain.results import Located
from moss.domain.run import Run, apply, begin
from moss.domain.swap import HELD, WORDS, Phase, PhaseResult, Swap
from moss.domain.trial import Trial

NEVER_OFFERED = 2
"""the row of the verdict's table that forbids an iteration"""
GOOD_ENDS = (Outcome.COMMITTED, Outcome.REVERTED)


def read(entry: Entry) -> Event | None:
    """The entry's event, None for one that a newer MOSS wrote."""
    try:
        return read_event(entry.event)
    except ValueError:
        return None


# ------------------------------------------------------------------ log lines


def log_line(entry: Entry) -> LogLine:
    """One line of `moss log`."""
    event = read(entry)
    what, says, ok, quiet = _told(event) if event is not None else (entry.kind, "written by a newer MOSS", True, False)
    return LogLine(
        run=entry.run,
        seq=entry.seq,
        at=entry.at,
        kind=entry.kind,
        what=what,
        says=plain(says, 600),
        ok=ok,
        quiet=quiet,
        hash=entry.hash,
        case=event.trial.case if isinstance(event, TrialEnded) else None,
    )


def _told(event: Event) -> tuple[str, str, bool, bool]:
    """What, its sentence, whether it went well, whether it is of little worth to a person."""
    match event:
        case Started():
            return "started", _started(event), True, False
        case Reserved():
            amount = event.amount
            money = f"{amount.money_usd:.2f} USD" if amount.money_usd else count(amount.tokens, "token")
            return "reserved", f"{money} for {event.key}", True, True
        case TrialEnded():
            return "trial", _trial(event.trial), not event.trial.valid or event.trial.passed, True
        case StepDone():
            return _step(event)
        case Consented():
            more = "" if event.enough else "; more approvers are needed"
            return "consent", f"{event.approver} said yes with {event.consent.key}{more}", True, False
        case StopAsked():
            return "stop", f"{event.by} asked to stop at the next safe point", True, False
        case Moved():
            return event.what, f"by {event.by}: goes on at {event.next.stage}", True, False
        case UndoAsked():
            return "undo", f"{event.by} takes it back: {event.because}", True, False
        case Ended():
            return "ended", f"{event.outcome}: {event.because}", event.outcome in GOOD_ENDS, False
        case _ as never:
            assert_never(never)


def _started(event: Started) -> str:
    coder = f", {', '.join(event.scripted)} (scripted)" if event.scripted else ""
    cases = f"{count(len(event.cases), 'failure')}, {count(len(event.guards), 'guard')}"
    return f"batch {event.batch} ({event.label}), {cases}, depth {event.depth}, by {event.by}{coder}"


def _trial(trial: Trial) -> str:
    said = "passed" if trial.passed else "failed" if trial.valid else f"invalid: {trial.invalid_because}"
    return f"{trial.case} on {trial.version[7:15]}, trial {trial.repeat}: {said}"


def _step(event: StepDone) -> tuple[str, str, bool, bool]:
    stage, ok = str(event.step.stage), event.outcome is None or event.outcome in GOOD_ENDS
    match event.result:
        case SwapResult(phase=phase, performed=performed):
            return _phase_line(event, phase, performed)
        case ImplementResult(commit=commit) as made if commit is not None:
            return stage, f"{count(made.files, 'file')}, +{made.added} -{made.removed}", True, False
        case PreflightResult() as result if result.ok and not result.skipped:
            says = f"ready in {result.ready_seconds or 0:.1f} s on a copy of the state, canary answered"
            return "preflight", says, True, False
        case PreflightResult(said=said):
            return stage, event.says + last_words(said), ok, False
        case TrialsResult() if event.outcome is None:
            return stage, event.says.replace(" trials", " replays", 1), True, False
        case SoakLook():
            return (
                stage,
                _once(stage, event.says),
                event.result.bad is None,
                event.next is not None and event.result.bad is None,
            )
        case StepFailed():
            return stage, event.says, False, False
    more = f" -> {event.outcome}" if event.outcome else ""
    return stage, _once(stage, event.says) + more, ok and not _is_rejection(event), False


def _once(what: str, says: str) -> str:
    """`says` without the word that stands before it: `soak  soak over` is `soak  over`."""
    return says.removeprefix(f"{what} ")


def _is_rejection(event: StepDone) -> bool:
    """A step that was done well and whose answer is no."""
    match event.result:
        case PlanReviewResult(review=review):
            return not review.accepted
        case CodeReviewResult(review=review):
            return not review.accepted
        case ImplementResult(commit=commit):
            return commit is None
        case BuildResult(version=version):
            return version is None
        case CheckResult(ok=ok):
            return not ok
        case VerdictAsked():
            return event.verdict is not None and event.verdict.row == NEVER_OFFERED
        case _:
            return False


def _phase_line(event: StepDone, result: PhaseResult, phase: Phase | None) -> tuple[str, str, bool, bool]:
    says = _phase_told(phase, result)
    if event.outcome is not None:
        says = f"{says} -> {event.outcome}"
    return WORDS[phase] if phase else "swap", says, result.ok, False


def _phase_told(phase: Phase | None, result: PhaseResult) -> str:
    """What a phase showed; of one that failed why, and the agent's own last words, marked as such."""
    if result.ok:
        return _phase_says(phase, result)
    return (result.because or "failed") + last_words(result.said)


def last_words(said: str) -> str:
    """What a version that failed wrote at its end, told as its words and not ours; empty where it wrote nothing."""
    return f'; its own last words: "{plain(said, 300)}"' if said else ""


def _phase_says(phase: Phase | None, result: PhaseResult) -> str:
    took = f"in {result.seconds:.1f} s"
    match phase:
        case Phase.HOLD | Phase.R_HOLD:
            return f"{count(result.drained or 0, 'turn')} in flight drained {took}, new ones wait"
        case Phase.SNAPSHOT if result.has_snapshot:
            return f"of {size(result.bytes or 0)} {took}"
        case Phase.RELEASE | Phase.R_RELEASE | Phase.UNHOLD:
            waited, refused = result.waited or 0, result.refused or 0
            if not waited:
                return f"nobody waited, {refused} refused"
            return f"{count(waited, 'message')} waited at most {result.longest_wait or 0.0:.1f} s, {refused} refused"
        case Phase.WATCH:
            return f"same boot id, ready for {result.seconds:.0f} s, {count(result.answered or 0, 'message')} answered"
        case Phase.PROBE | Phase.R_PROBE | Phase.RS_PROBE:
            return took
        case Phase.CANARY | Phase.R_CANARY | Phase.RS_CANARY:
            return f"answered {took}"
        case Phase.RS_STATE:
            lost = f"; answered since and gone from the state: {', '.join(result.lost)}" if result.lost else ""
            return f"the snapshot is the state again{lost}"
        case _:
            return result.because or took


# ------------------------------------------------------------------ steps and swaps


def stage_lines(entries: Iterable[Entry]) -> tuple[StageLine, ...]:
    """The steps of a run that were done, swaps apart. A wave of trials tells how many of them were valid."""
    lines: list[StageLine] = []
    wave: list[bool] = []
    for entry in entries:
        event = read(entry)
        if isinstance(event, TrialEnded):
            wave.append(event.trial.valid)
        if isinstance(event, StepDone):
            if event.step.stage is not Stage.SWAP and not (told := _step(event))[3]:
                lines.append(_stage_line(event, told[1], told[2], entry.at, wave))
            wave = []
    return tuple(lines)


def _stage_line(event: StepDone, says: str, ok: bool, at: datetime, wave: Sequence[bool]) -> StageLine:
    step = event.step
    if step.stage is Stage.TRIAL and wave:
        says = f"{sum(wave)} of {len(wave)} valid"
    return StageLine(
        stage=step.stage,
        iteration=step.iteration,
        round=step.round,
        says=plain(_with_rank(event, says), 300),
        ok=ok,
        seconds=event.seconds,
        at=at,
    )


def _with_rank(event: StepDone, says: str) -> str:
    located = getattr(event.result, "located", None)
    return f"{says}  (rank 1 of {len(located.suspects)})" if isinstance(located, Located) else says


def swaps(entries: Sequence[Entry]) -> tuple[SwapSeen, ...]:
    """The swaps of a run, told by folding its journal: what each phase was is the fold's word, not the line's."""
    run: Run | None = None
    seen: list[tuple[Swap, list[SwapStep]]] = []
    for entry in entries:
        event = read(entry)
        if event is None:
            break
        before = run.swap if run is not None else None
        run = begin(event, entry.at) if isinstance(event, Started) else apply(run, event, entry.at) if run else None
        if run is None or run.swap is None:
            continue
        if not seen or seen[-1][0].key != run.swap.key:
            seen.append((run.swap, []))
        if before is not None and isinstance(event, StepDone) and isinstance(event.result, SwapResult):
            seen[-1][1].append(_swap_step(before.phase, event, event.result.phase, entry.at))
        seen[-1] = (run.swap, seen[-1][1])
    return tuple(_seen(swap, steps) for swap, steps in seen)


def _swap_step(phase: Phase, event: StepDone, result: PhaseResult, at: datetime) -> SwapStep:
    return SwapStep(
        phase=phase,
        word=WORDS[phase],
        says=plain(_phase_says(phase, result) if result.ok else result.because or "failed", 300),
        said=plain(result.said, 300),
        ok=result.ok,
        seconds=result.seconds,
        at=at,
        held=phase in HELD,
    )


def _seen(swap: Swap, steps: list[SwapStep]) -> SwapSeen:
    return SwapSeen(
        undo=swap.undo,
        steps=tuple(steps),
        end=swap.end,
        because=plain(swap.because, 300),
        refused=swap.refused,
        waited=swap.waited,
        longest_wait=swap.longest_wait,
        released_after=swap.released_after,
        lost=swap.lost,
    )
