"""Owns where one case or guard stands after its trials: the first table of design 7, row by row.

Never looks at more than one case, except for the batch's p value (see `verdict`).
Invariants: invalid trials never count; the order of trials in a list never matters; what was decided at the
baseline is decided by the first trials (by repeat), so trials that are added later never undo it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from moss.domain.case import Level
from moss.domain.ids import CaseId, Digest
from moss.domain.stats import ERROR, FIRST_LOOK, Stratum, fails_more_often, more_often
from moss.domain.trial import Trial, WorldKind


@dataclass(frozen=True, slots=True)
class Tally:
    """The trials of one case on one version: the valid ones in the order of their repeats, and how many were not.

    `opened`: the first request at which one of them, invalid ones too, left the recording for a real model.
    """

    trials: tuple[Trial, ...] = ()
    invalid: int = 0
    opened: int | None = None

    @property
    def valid(self) -> int:
        return len(self.trials)

    @property
    def tried(self) -> int:
        return self.valid + self.invalid

    @property
    def passed(self) -> int:
        return sum(trial.passed for trial in self.trials)

    @property
    def failed(self) -> int:
        return self.valid - self.passed

    @property
    def live(self) -> bool:
        """A real model spoke at least once."""
        return any(trial.world is WorldKind.LIVE for trial in self.trials)

    @property
    def failed_replayed(self) -> bool:
        """It failed with every answer recorded: no luck of a model is in that, wherever other trials went."""
        return any(not trial.passed and trial.world is WorldKind.REPLAYED for trial in self.trials)

    def first(self, count: int) -> "Tally":
        return Tally(self.trials[:count], self.invalid, self.opened)

    def worst(self, keypoint: str) -> Level | None:
        """The keypoint's level at its worst valid trial; a trial that does not mark it counts as missing."""
        return min((level(trial, keypoint) for trial in self.trials), default=None)


def level(trial: Trial, keypoint: str) -> Level:
    return next((mark.level for mark in trial.marks if mark.keypoint == keypoint), Level.MISSING)


def tallies(trials: Iterable[Trial], version: Digest | None, *, opened: bool = False) -> Mapping[CaseId, Tally]:
    """The tally of every case on `version`. A trial with a key that was seen counts once.

    `opened`: those whose world was opened to a real model (`Trial.live_from`), else all others.
    """
    unique = {one.key: one for one in trials if one.version == version and (one.live_from is not None) is opened}
    found: dict[CaseId, Tally] = {}
    for trial in sorted(unique.values(), key=lambda one: (one.repeat, one.key)):
        before = found.get(trial.case, Tally())
        at = trial.diverged_at if trial.world is WorldKind.LIVE else None
        opens = min((place for place in (before.opened, at) if place is not None), default=None)
        valid, lost = ((trial,), 0) if trial.valid else ((), 1)
        found[trial.case] = Tally((*before.trials, *valid), before.invalid + lost, opens)
    return found


# ------------------------------------------------------------------ on the live version


def reproduces(live: Tally, n: int) -> bool | None:
    """Whether a failure case fails on the live version; None while trials are missing (see `baseline_needs`).

    Replayed: fails n of n. Live: fails at least once in n, else at least once in 2 n.
    """
    first = live.first(n)
    if first.valid < n:
        return None
    if not first.live:
        return first.passed == 0
    if first.failed:
        return True
    second = live.first(2 * n)
    if second.failed:
        return True
    return None if second.valid < 2 * n else False


def admitted(live: Tally, n: int) -> bool | None:
    """Whether a guard is one: it passes n of n on the live version. None while trials are missing."""
    first = live.first(n)
    if first.failed:
        return False
    return None if first.valid < n else True


def baseline_needs(live: Tally, n: int) -> int:
    """How many valid trials an undecided case needs on the live version: n, or 2 n where the model may be lucky."""
    return n if live.valid < n else 2 * n


# ------------------------------------------------------------------ on the candidate


class Fix(StrEnum):
    FIXED = "fixed"
    NOT_FIXED = "not_fixed"
    UNDECIDED = "undecided"


def control_lacks(candidate: Tally, live: Tally, n: int, *, opened: bool) -> int:
    """Trials of the live version that are missing before a candidate's invalid ones are held against it.

    An upstream that is down is down for both: so the live version is tried once more for each of them, beside the
    n of its baseline (where its trials are `opened`, those are none of them).
    """
    return (0 if opened else n) + candidate.invalid - live.tried


def provoked(candidate: Tally, live: Tally, n: int, *, opened: bool) -> bool | None:
    """Whether a candidate makes trials invalid that would have failed: n or more beyond those of the live version.

    None while the live version has to be tried (see `control_lacks`).
    """
    if candidate.invalid - live.invalid < n:
        return False
    return True if control_lacks(candidate, live, n, opened=opened) <= 0 else None


class Held(StrEnum):
    HELD = "held"
    SHAKY = "shaky"
    BROKEN = "broken"
    UNDECIDED = "undecided"


def fix(candidate: Tally, n: int) -> Fix:
    """Whether the candidate passes a case often enough. In a live world it also takes `gain` over the batch.

    Replayed: passes n of n. Live: passes at least 80 % of its trials. It is looked at twice, at n and at 3 n:
    one that failed at n goes on to 3 n, and once it goes on nothing in between decides.
    """
    if candidate.valid < n:
        return Fix.UNDECIDED
    if candidate.failed_replayed:
        return Fix.NOT_FIXED
    if not candidate.live:
        return Fix.FIXED
    most = max(3 * n, candidate.valid)
    if 5 * (most - candidate.failed) < 4 * most:
        return Fix.NOT_FIXED
    if candidate.valid >= 3 * n:
        return Fix.FIXED
    return Fix.FIXED if candidate.valid == n and candidate.failed == 0 else Fix.UNDECIDED


def held(candidate: Tally, live: Tally, n: int) -> Held:
    """Whether an admitted guard survived the candidate.

    Replayed: broken when it fails once. Live: after extension to 3 n on both, broken when it fails in half of
    them, or more often than on the live version at p < 0.05; else shaky.
    """
    if candidate.valid < n:
        return Held.UNDECIDED
    if candidate.failed == 0:
        return Held.HELD
    if candidate.failed_replayed or 2 * candidate.failed >= max(3 * n, candidate.valid):
        return Held.BROKEN
    if min(candidate.valid, live.valid) < 3 * n:
        return Held.UNDECIDED
    return Held.BROKEN if fails_more_often(stratum(candidate, live)) < ERROR else Held.SHAKY


def in_live_world(candidate: Tally, live: Tally) -> bool:
    """One real answer on either side makes the comparison one of rates."""
    return candidate.live or live.live


def gain(pairs: Collection[tuple[Tally, Tally]], n: int) -> tuple[bool, float]:
    """Whether a batch passes more often than on the live version, over (candidate, live) pairs, and its p value.

    Two looks share the error rate: at the first n trials of every case at `FIRST_LOOK`, and at 3 n of every case
    that may be fixed at the rest. One look whenever a case has stopped at its best would find luck.
    """
    early = more_often(stratum(one.first(n), _after_choice(_at_baseline(live, n))) for one, live in pairs)
    if early < FIRST_LOOK:
        return True, early
    late = more_often(stratum(one, _after_choice(live)) for one, live in pairs)
    whole = all(fix(one, n) is Fix.NOT_FIXED or min(one.valid, live.valid) >= 3 * n for one, live in pairs)
    return whole and late < ERROR - FIRST_LOOK, late


def stratum(candidate: Tally, live: Tally) -> Stratum:
    return Stratum(candidate.passed, candidate.valid, live.passed, live.valid)


def worse(candidate: Tally, live: Tally, keypoints: Iterable[str]) -> bool:
    """Whether the candidate made a case worse: a keypoint's worst level fell; in a live world: beyond chance."""
    if not in_live_world(candidate, live):
        return any((candidate.worst(point) or 0) < (live.worst(point) or 0) for point in keypoints)
    compared = [stratum(candidate, live), *(_met(candidate, live, point) for point in keypoints)]
    return any(fails_more_often(one) < ERROR for one in compared)


def better(candidate: Tally, live: Tally, keypoints: Iterable[str]) -> bool:
    """Whether a case did any better at all: it passes at a higher rate, or a keypoint's worst level rose."""
    if candidate.passed * live.valid > live.passed * candidate.valid:
        return True
    return any((candidate.worst(point) or 0) > (live.worst(point) or 0) for point in keypoints)


def _at_baseline(live: Tally, n: int) -> Tally:
    first = live.first(n)
    return first if first.failed else live.first(2 * n)


def _after_choice(live: Tally) -> Tally:
    """A case is in the batch because it failed: the trials up to its first failure chose it.

    Only the later ones are compared. Counting them all would prove a flaky case fixed by doing nothing. Trials in an
    opened world came after the choice.
    """
    if live.trials and live.trials[0].live_from is not None:
        return live
    chosen_by = next((at for at, trial in enumerate(live.trials, 1) if not trial.passed), 0)
    return Tally(live.trials[chosen_by:], live.invalid)


def _met(candidate: Tally, live: Tally, keypoint: str) -> Stratum:
    """How often a keypoint was adequate or better on both."""
    on = [sum(level(trial, keypoint) >= Level.ADEQUATE for trial in one.trials) for one in (candidate, live)]
    return Stratum(on[0], candidate.valid, on[1], live.valid)
