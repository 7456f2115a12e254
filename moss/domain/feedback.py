"""Owns what the coding agent is told of an iteration that needs more work. Never decides anything.

Invariant: guards are counted, never named or quoted: the coding agent does not learn which turns are kept.
"""

from collections.abc import Iterator

from moss.domain.assessment import Assessment
from moss.domain.case import Level
from moss.domain.standing import Held, Tally
from moss.domain.trial import Mark

_LOST = (
    "{} trials gave no result, and with the version before this change they do: what brings about an error of the "
    "model, the gateway or the box counts against the change"
)


def feedback(one: Assessment) -> Iterator[str]:
    """Lines for the next iteration: what was refused, what broke, which keypoints of which cases are not met."""
    yield from one.proof.refusals
    if lost := [guard for guard in one.guards if guard in one.lost]:
        yield f"of {len(lost)} turns that went well before, " + _LOST.format(
            sum(one.tally[each].invalid for each in lost)
        )
    if broken := len(one.held(Held.BROKEN)):
        yield f"{broken} turns that went well before fail with this change: keep all other behaviour as it was"
    if not one.tried:
        return
    for case in one.unfixed:
        tally = one.tally[case]
        if case in one.lost:
            yield f"{case}: {_LOST.format(tally.invalid)}"
        yield f"{case}: passed {tally.passed} of {tally.valid} trials"
        yield from (f"{case}: {line}" for line in _unmet(tally))
    for case in one.worse:
        yield f"{case}: worse than before this change"


def _unmet(tally: Tally) -> Iterator[str]:
    """The keypoints that were not met, each with the reason from its worst trial."""
    marks = [mark for trial in tally.trials for mark in trial.marks if mark.level < Level.ADEQUATE]
    worst: dict[str, Mark] = {}
    for mark in marks:
        if mark.keypoint not in worst or mark.level < worst[mark.keypoint].level:
            worst[mark.keypoint] = mark
    for mark in worst.values():
        yield f"{mark.keypoint} is {mark.level.name.lower()}" + (f": {mark.because}" if mark.because else "")
