"""Owns the three exact figures of the proof: a bound on breakage, and two comparisons of passing rates.

Never approximates and never samples: counts in, a probability out, by `math` alone.
Invariant: every p value is one-sided and conservative (at most the error rate under the null hypothesis).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import comb

ERROR = 0.05
"""One-sided error rate of every decision of design 7."""

FIRST_LOOK = 0.01
"""The part of it that a look before all trials are in may spend; the last look has the rest (Bonferroni)."""

_HALVINGS = 60
"""Bisection steps: the bound is exact to 2^-60, more than a float holds."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """Passing counts of one case: on the candidate and on the live version."""

    candidate_passed: int
    candidate_trials: int
    live_passed: int
    live_trials: int

    def __post_init__(self) -> None:
        sound = 0 <= self.candidate_passed <= self.candidate_trials and 0 <= self.live_passed <= self.live_trials
        if not sound:
            raise ValueError(f"passes out of trials do not fit: {self}")

    def turned(self) -> "Stratum":
        """The same trials with failing counted in place of passing."""
        return Stratum(
            self.candidate_trials - self.candidate_passed,
            self.candidate_trials,
            self.live_trials - self.live_passed,
            self.live_trials,
        )


def upper_bound(broken: int, of: int, error: float = ERROR) -> float:
    """The exact one-sided upper bound, at confidence 1 - `error`, on a rate: `broken` of `of` were seen.

    It is the largest rate at which seeing at most `broken` has probability `error` or more; 1.0 for 0 of 0.
    Source: Clopper and Pearson, Biometrika 26 (1934) 404-413; for `broken` = 0 it is 1 - error^(1/of).

    Raises: ValueError when `broken` is not within 0..`of`.
    """
    if not 0 <= broken <= of:
        raise ValueError(f"{broken} of {of} cannot be")
    if broken == of:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _at_most(broken, of, middle) >= error:
            low = middle
        else:
            high = middle
    return high


def more_often(strata: Iterable[Stratum]) -> float:
    """The exact one-sided p value of "the candidate passes more often than the live version", case by case.

    Under the null hypothesis the passes of a case fall on its candidate and live trials at random, so the
    candidate's share of each is hypergeometric given the case's totals; p is the chance that their sum is at
    least as large as what was seen. With one stratum this is Fisher's exact test. No stratum: 1.0.
    Source: Fisher, The Design of Experiments (1935) ch. 2; Cox, J. R. Stat. Soc. B 20 (1958) 215-242; Mehta,
    Patel and Gray, J. Am. Stat. Assoc. 80 (1985) 969-973 (the sum over strata, here by plain convolution).
    """
    ways, seen = {0: 1}, 0
    for stratum in strata:
        ways = _convolved(ways, _share(stratum))
        seen += stratum.candidate_passed
    return float(Fraction(sum(count for total, count in ways.items() if total >= seen), sum(ways.values())))


def fails_more_often(stratum: Stratum) -> float:
    """The exact one-sided p value of "the candidate fails more often than the live version" for one guard."""
    return more_often((stratum.turned(),))


def _at_most(k: int, n: int, rate: float) -> float:
    """The chance of at most `k` of `n` at a rate."""
    return sum(comb(n, i) * rate**i * (1 - rate) ** (n - i) for i in range(k + 1))


def _share(stratum: Stratum) -> dict[int, int]:
    """Candidate's passes -> in how many ways the case's passes fall so; integers, so nothing is rounded."""
    passed = stratum.candidate_passed + stratum.live_passed
    failed = stratum.candidate_trials + stratum.live_trials - passed
    most = min(passed, stratum.candidate_trials)
    least = max(0, stratum.candidate_trials - failed)
    return {x: comb(passed, x) * comb(failed, stratum.candidate_trials - x) for x in range(least, most + 1)}


def _convolved(one: dict[int, int], other: dict[int, int]) -> dict[int, int]:
    both: dict[int, int] = {}
    for a, ways_a in one.items():
        for b, ways_b in other.items():
            both[a + b] = both.get(a + b, 0) + ways_a * ways_b
    return both
