"""Owns how the demo looks: the story of a run, told from its journal, so that a resumed demo tells it whole.

Never decides or changes anything. Outside text is shown escaped and bounded.
"""

import textwrap
from collections.abc import Sequence
from datetime import datetime

from moss.api import screens
from moss.api.plain import plain
from moss.domain.batch import Batch
from moss.domain.events import (
    BaselineResult,
    BuildResult,
    CheckResult,
    CodeReviewResult,
    Event,
    ImplementResult,
    LocateResult,
    PlanReviewResult,
    PreflightResult,
    StepDone,
    StepFailed,
    SwapResult,
    TrialsResult,
    VerdictAsked,
)
from moss.domain.matrix import matrix as keypoints
from moss.domain.run import Run
from moss.domain.swap import Phase, PhaseResult, Swap, SwapEnd
from moss.domain.trial import Trial

WIDTH = 15
COLUMNS = 104


def line(name: str, text: str, indent: int = 4) -> str:
    """`name` in its column, then `text`, printable and in one line."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    first, *rest = textwrap.wrap(printable, COLUMNS, drop_whitespace=False) or [""]
    column = WIDTH + 2
    head = f"{' ' * indent}{name:<{column - indent}}{first}".rstrip()
    return "\n".join([head, *(" " * column + one.strip() for one in rest)])


def step_lines(run: Run, event: Event, batch: Batch | None) -> list[str]:
    """What one entry of the journal adds to the screen. `run` is the run after it, `batch` its own."""
    if not isinstance(event, StepDone):
        return []
    match event.result:
        case BaselineResult() if run.baseline is not None:
            said = run.baseline
            count = len(said.reproduced) + len(said.not_reproduced)
            return [line("baseline", f"{len(said.reproduced)} of {count} failures reproduce on the live version")]
        case LocateResult(located=located):
            best = min(located.suspects, key=lambda one: one.rank)
            where = f"{best.path}:{best.line} {best.symbol}: {best.why}"
            short = textwrap.shorten(where, 84, placeholder=" ...")
            return [line("locate", f"{short}   rank 1 of {len(located.suspects)}")]
        case PlanReviewResult(review=review):
            word = "accepted" if review.accepted else f'rejected: "{review.reason}"'
            return [line("plan", f"{word} in round {event.step.round}")]
        case ImplementResult() as made:
            files = f"{made.files} file{'s' if made.files != 1 else ''}, +{made.added} -{made.removed}"
            return [line("implement", files if made.commit else "refused: " + "; ".join(made.breaches))]
        case CodeReviewResult(review=review):
            word = "accepted" if review.accepted else f'rejected: "{review.reason}"'
            return [line("code review", f"round {event.step.round}: {word}")]
        case BuildResult(version=version):
            return [line("build", f"{version.name} in {event.seconds:.1f} s" if version else "failed")]
        case CheckResult() as check:
            word = f"its own {check.passed} tests pass in {event.seconds:.1f} s" if check.ok else "failed"
            return [line("check", word)]
        case TrialsResult():
            return [line("trials", trials(run, event.seconds))]
        case VerdictAsked() if run.verdict is not None:
            return [*matrix(run, batch), line("verdict", f"{run.verdict.kind}: {run.verdict.reason}")]
        case StepFailed() as failed:
            return [line(event.step.stage, f"{failed.error}: {failed.sentence}")]
        case _:
            return []


def trials(run: Run, seconds: float) -> str:
    mine = candidate_trials(run)
    valid = sum(trial.valid for trial in mine)
    return f"{valid} of {len(mine)} valid  {'#' * min(38, valid)}  {seconds:.1f} s"


def candidate_trials(run: Run) -> list[Trial]:
    build = run.iterations[-1].build if run.iterations else None
    image = build.version.image if build and build.version else None
    return [trial for trial in run.trials if trial.version == image]


def matrix(run: Run, batch: Batch | None) -> list[str]:
    """The keypoint matrix, as `moss matrix` prints it."""
    first, *rest = screens.matrix(keypoints(run, batch))
    column = " " * (WIDTH + 2)
    return [f"    {'matrix':<{WIDTH - 2}}{first}", *(column + row for row in rest)]


SHOWN = {
    Phase.HOLD: "held",
    Phase.STOP: "stopped",
    Phase.SNAPSHOT: "snapshot",
    Phase.START: "started",
    Phase.CANARY: "canary ok",
}


def swap_line(events: Sequence[tuple[Event, datetime]], swap: Swap) -> str:
    """The swap as one line: what happened, in order, and where it ended."""
    words: list[str] = []
    held: datetime | None = None
    for event, at in events:
        if isinstance(event, StepDone) and isinstance(event.result, PreflightResult):
            words.append("preflight ok" if event.result.ok else f"preflight: {event.result.because}")
        if isinstance(event, StepDone) and isinstance(event.result, SwapResult) and event.result.performed:
            phase = event.result.performed
            held = at if phase in (Phase.HOLD, Phase.R_HOLD) else held
            words += _phase_words(phase, event.result.phase, held, at)
    ends = {SwapEnd.SWITCHED: "committed", SwapEnd.RESTORED: f"restored, the old version serves ({swap.because})"}
    return " · ".join([*words, ends.get(swap.end, str(swap.end)) if swap.end else "open"])


def last_words(events: Sequence[tuple[Event, datetime]]) -> list[str]:
    """What versions that failed in the swap wrote at their end: their words, not ours."""
    results = (event.result for event, _ in events if isinstance(event, StepDone))
    said = [one.phase.said for one in results if isinstance(one, SwapResult) and one.phase.said]
    return [line("last words", f'"{plain(words, 200)}" (the agent\'s own, as it ended)', 2) for words in said]


def _phase_words(phase: Phase, result: PhaseResult, held: datetime | None, at: datetime) -> list[str]:
    if not result.ok:
        return [result.because]
    if phase in SHOWN:
        return [SHOWN[phase]]
    waited = f" after {(at - held).total_seconds():.1f} s" if held else ""
    match phase:
        case Phase.RELEASE:
            return [f"released{waited}"]
        case Phase.WATCH:
            return [f"watched {result.seconds:.0f} s"]
        case Phase.R_HOLD:
            return ["held again"]
        case Phase.R_RELEASE:
            return [f"serving again{waited}"]
        case _:
            return []
