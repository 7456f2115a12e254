"""Owns short ways to write trials and proofs down, for tests of whatever reads them. Never runs a trial.

A word is the trials of one case on one version: p passed and f failed in a replayed world, P and F in a live one,
x invalid. `"ppF"` is three valid trials, the last failed while a real model spoke.
"""

from collections.abc import Iterable, Mapping

from moss.domain.case import Level
from moss.domain.depth import DIALS, Depth
from moss.domain.ids import CaseId, CommitId, Digest, Key
from moss.domain.proof import IterationProof, LimitVote, Proof, Rules
from moss.domain.trial import Mark, Trial, WorldKind

BASE = Digest("sha256:" + "0" * 64)
LIGHT, STANDARD, DEEP = (Rules.of(DIALS[depth]) for depth in (Depth.LIGHT, Depth.STANDARD, Depth.DEEP))
GUARDS = {"g1": "ppp", "g2": "ppp", "g3": "ppp"}


def version(number: int) -> Digest:
    return Digest("sha256:" + f"{number:064d}")


def trials(case: str, on: Digest, word: str, levels: Mapping[str, Level] | None = None) -> tuple[Trial, ...]:
    """`levels`: of the keypoints of every failed trial, where "missing" of one keypoint is not enough."""
    return tuple(
        _trial(case, on, repeat, letter, levels or {"k": Level.MISSING}) for repeat, letter in enumerate(word, 1)
    )


def diverged(at: int, these: Iterable[Trial]) -> tuple[Trial, ...]:
    """The same trials, in which the candidate left the recording at that request, for a real model."""
    return tuple(one.model_copy(update={"diverged_at": at, "world": WorldKind.LIVE}) for one in these)


def opened(at: int, these: Iterable[Trial], after: int = 100) -> tuple[Trial, ...]:
    """The same trials of the live version in a world that is open from that request on, later than all before."""
    return tuple(
        one.model_copy(update={"live_from": at, "repeat": one.repeat + after, "key": Key(f"{one.key}/open")})
        for one in these
    )


def _trial(case: str, on: Digest, repeat: int, letter: str, levels: Mapping[str, Level]) -> Trial:
    passed = letter in "pP"
    shown = dict.fromkeys(levels, Level.STRONG) if passed else levels
    return Trial(
        key=Key(f"{on[-3:]}/{case}/{repeat}"),
        case=CaseId(case),
        version=on,
        repeat=repeat,
        valid=letter != "x",
        passed=passed,
        marks=tuple(Mark(keypoint=point, level=level, because="seen") for point, level in shown.items()),
        world=WorldKind.LIVE if letter.isupper() else WorldKind.REPLAYED,
    )


def many(on: Digest, words: Mapping[str, str]) -> tuple[Trial, ...]:
    return tuple(one for case, word in words.items() for one in trials(case, on, word))


def iteration(number: int, words: Mapping[str, str], **changes: object) -> IterationProof:
    """An iteration of ten changed lines with a candidate of its own; guards pass 3 of 3 unless said otherwise."""
    plain = IterationProof(
        iteration=number,
        commit=CommitId(f"{number:040d}"),
        version=version(number),
        diff_lines=10,
        trials=many(version(number), GUARDS | dict(words)),
    )
    return plain.model_copy(update=changes)


def proof(
    live: Mapping[str, str],
    *iterations: IterationProof,
    rules: Rules = STANDARD,
    votes: tuple[LimitVote, ...] = (),
    guards: tuple[str, ...] = ("g1", "g2", "g3"),
) -> Proof:
    """A run whose cases are the names of `live` that are no guards; those pass 3 of 3 there unless said otherwise."""
    return Proof(
        cases=tuple(CaseId(case) for case in live if case not in guards),
        guards=tuple(CaseId(guard) for guard in guards),
        base=BASE,
        rules=rules,
        live=many(BASE, GUARDS | dict(live)),
        iterations=iterations,
        votes=votes,
    )
