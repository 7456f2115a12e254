"""Owns what the trials of one iteration amount to: cases fixed, guards held, its score, what forbids it.

Never compares iterations (see `verdict`). Invariant: what is not proven counts as not: a case without enough
trials is not fixed, a guard without enough trials forbids the iteration.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from moss.domain.ids import CaseId, Digest
from moss.domain.proof import IterationProof, Proof, Wanted, guards_needed
from moss.domain.standing import (
    Fix,
    Held,
    Tally,
    admitted,
    better,
    fix,
    gain,
    held,
    in_live_world,
    reproduces,
    tallies,
    worse,
)

_NONE = Tally()


@dataclass(frozen=True, slots=True, order=True)
class Score:
    """What ranks iterations: cases fixed, keypoint levels at their worst trial, then the smaller diff."""

    fixed: int
    levels: int
    minus_lines: int


@dataclass(frozen=True, slots=True)
class Bench:
    """What every iteration is held against: the reproduced cases and admitted guards, with the live trials."""

    cases: tuple[CaseId, ...]
    guards: tuple[CaseId, ...]
    live: Mapping[CaseId, Tally] = field(hash=False)
    score: Score

    def on_live(self, case: CaseId) -> Tally:
        return self.live.get(case, _NONE)


@dataclass(frozen=True, slots=True)
class Assessment:
    """One iteration. `tried`: its candidate got as far as trials. `forbidden`: why row 2 never offers it.

    `p` is over the cases in a live world, None without one.
    """

    proof: IterationProof
    tried: bool
    tally: Mapping[CaseId, Tally]
    fixes: Mapping[CaseId, Fix]
    guards: Mapping[CaseId, Held]
    p: float | None
    score: Score
    forbidden: tuple[str, ...]
    better: tuple[CaseId, ...]
    worse: tuple[CaseId, ...]
    wanted: tuple[Wanted, ...]

    @property
    def fixed(self) -> tuple[CaseId, ...]:
        return tuple(case for case, fix in self.fixes.items() if fix is Fix.FIXED)

    @property
    def unfixed(self) -> tuple[CaseId, ...]:
        return tuple(case for case, fix in self.fixes.items() if fix is not Fix.FIXED)

    def held(self, standing: Held) -> tuple[CaseId, ...]:
        return tuple(guard for guard, one in self.guards.items() if one is standing)


def bench(proof: Proof) -> Bench:
    """The bench of a run whose baseline is decided: what reproduces and what is admitted, by the live trials."""
    live, n = tallies(proof.live, proof.base), proof.rules.trials
    cases = tuple(case for case in proof.cases if reproduces(live.get(case, _NONE), n))
    guards = tuple(guard for guard in proof.guards if admitted(live.get(guard, _NONE), n))
    levels = sum(_levels(live.get(case, _NONE), keypoints(live.get(case, _NONE))) for case in cases)
    return Bench(cases, guards, live, Score(0, levels, 0))


def assess(proof: Proof, iteration: IterationProof, bench: Bench) -> Assessment:
    """What `iteration` amounts to on the bench."""
    n, version = proof.rules.trials, iteration.version
    tried = version is not None and iteration.policy_ok and iteration.build_ok and iteration.check_ok
    tally = tallies(iteration.trials, version) if tried else {}
    on = {case: tally.get(case, _NONE) for case in (*bench.cases, *bench.guards)}
    pairs = {case: (on[case], bench.on_live(case)) for case in bench.cases}
    fixes, p = _fixes(pairs, n)
    guards = {guard: held(on[guard], bench.on_live(guard), n) for guard in bench.guards}
    seen = {case: pair for case, pair in pairs.items() if pair[0].valid}
    return Assessment(
        proof=iteration,
        tried=tried,
        tally=on,
        fixes=fixes,
        guards=guards,
        p=p,
        score=Score(
            fixed=sum(one is Fix.FIXED for one in fixes.values()),
            levels=sum(_levels(on[case], keypoints(*pair)) for case, pair in pairs.items()),
            minus_lines=-iteration.diff_lines,
        ),
        forbidden=tuple(_forbidden(proof, iteration, bench, guards)),
        better=tuple(case for case, pair in seen.items() if better(*pair, keypoints(*pair))),
        worse=tuple(case for case, pair in seen.items() if worse(*pair, keypoints(*pair))),
        wanted=tuple(_wanted(proof, version, bench, on, _undecided(fixes, guards))) if tried and version else (),
    )


def keypoints(*tallies: Tally) -> tuple[str, ...]:
    """All keypoints that a trial of these marks, in the order first met."""
    return tuple(dict.fromkeys(mark.keypoint for one in tallies for trial in one.trials for mark in trial.marks))


def _levels(tally: Tally, points: Iterable[str]) -> int:
    return sum(tally.worst(point) or 0 for point in points)


def _fixes(pairs: Mapping[CaseId, tuple[Tally, Tally]], n: int) -> tuple[Mapping[CaseId, Fix], float | None]:
    """Where each case stands, and the p value over those in a live world.

    A case in a live world is fixed only with the batch's p; both sides are sampled to 3 n before that is denied.
    """
    fixes = {case: fix(candidate, n) for case, (candidate, _) in pairs.items()}
    rates = [case for case, pair in pairs.items() if in_live_world(*pair)]
    if not rates:
        return fixes, None
    shown, p = gain([pairs[case] for case in rates], n)
    for case in rates:
        if fixes[case] is Fix.FIXED and not shown:
            fixes[case] = Fix.UNDECIDED if min(one.valid for one in pairs[case]) < 3 * n else Fix.NOT_FIXED
    return fixes, p


def _undecided(fixes: Mapping[CaseId, Fix], guards: Mapping[CaseId, Held]) -> tuple[CaseId, ...]:
    """What more trials could decide: nothing once a guard broke, since that decides the iteration."""
    if Held.BROKEN in guards.values():
        return ()
    cases = (case for case, one in fixes.items() if one is Fix.UNDECIDED)
    return (*cases, *(guard for guard, one in guards.items() if one is Held.UNDECIDED))


def _forbidden(proof: Proof, iteration: IterationProof, bench: Bench, guards: Mapping[CaseId, Held]) -> Iterable[str]:
    """The reasons of row 2, as sentences."""
    ok = iteration.policy_ok and iteration.build_ok and iteration.check_ok
    if ok and iteration.version is None:
        yield "it came to no candidate"
    elif ok and (iteration.version == proof.base or not iteration.diff_lines):
        yield "it changes nothing"
    elif not ok:
        said = iteration.refusals or ("the policy, the build or the substrate's own tests refuse it",)
        yield from (line.partition("\n")[0][:200] for line in said)
    broken = sum(one is Held.BROKEN for one in guards.values())
    if broken:
        yield f"{broken} of {len(guards)} guards broken"
    if ok and any(one is Held.UNDECIDED for one in guards.values()):
        yield "not every guard was tried"
    needed = guards_needed(len(bench.cases))
    if len(guards) < needed:
        yield f"{len(guards)} guards hold on the live version, {needed} are needed"


def _wanted(
    proof: Proof, version: Digest, bench: Bench, on: Mapping[CaseId, Tally], undecided: Iterable[CaseId]
) -> Iterable[Wanted]:
    """What would decide the undecided: n trials of everything first, then 3 n of what takes rates to compare."""
    n = proof.rules.trials
    first = [case for case, tally in on.items() if tally.valid < n]
    for case in first or undecided:
        goal = n if first else 3 * n
        if on[case].valid < goal:
            yield Wanted(case=case, version=version, more=goal - on[case].valid)
        # A case that failed shows by itself whether it passes 80 %: the live version waits until it does.
        by_itself = case in bench.cases and on[case].failed > 0 and on[case].valid < goal
        if not first and not by_itself and bench.on_live(case).valid < goal:
            yield Wanted(case=case, version=proof.base, more=goal - bench.on_live(case).valid)
