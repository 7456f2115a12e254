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
    control_lacks,
    fix,
    gain,
    held,
    in_live_world,
    provoked,
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
    opened: Mapping[CaseId, Tally] = field(hash=False)
    score: Score

    def beside(self, case: CaseId, candidate: Tally) -> "Beside":
        """The live version's trials in the world that the candidate's were in.

        A candidate that leaves the recording has a real model's luck; a replay of the live version has none.
        """
        live = self.live.get(case, _NONE)
        if candidate.opened is None or live.live:
            return Beside(live, None)
        return Beside(self.opened.get(case, _NONE), candidate.opened)


@dataclass(frozen=True, slots=True)
class Beside:
    """What a candidate's trials of a case are compared with. `live_from`: of the world that both are in."""

    tally: Tally
    live_from: int | None


@dataclass(frozen=True, slots=True)
class Assessment:
    """One iteration. `tried`: its candidate got as far as trials. `forbidden`: why row 2 never offers it.

    `p` is over the cases in a live world, None without one. `lost`: cases and guards of which it makes trials invalid
    that are valid on the live version: those prove nothing for it. `invalid_live`: of all the live version's.
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
    lost: tuple[CaseId, ...]
    invalid_live: int
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
    opened = tallies(proof.live, proof.base, opened=True)
    cases = tuple(case for case in proof.cases if reproduces(live.get(case, _NONE), n))
    guards = tuple(guard for guard in proof.guards if admitted(live.get(guard, _NONE), n))
    levels = sum(_levels(live.get(case, _NONE), keypoints(live.get(case, _NONE))) for case in cases)
    return Bench(cases, guards, live, opened, Score(0, levels, 0))


def assess(proof: Proof, iteration: IterationProof, bench: Bench) -> Assessment:
    """What `iteration` amounts to on the bench."""
    n, version = proof.rules.trials, iteration.version
    tried = version is not None and iteration.policy_ok and iteration.build_ok and iteration.check_ok
    tally = tallies(iteration.trials, version) if tried else {}
    on = {case: tally.get(case, _NONE) for case in (*bench.cases, *bench.guards)}
    beside = {case: bench.beside(case, one) for case, one in on.items()}
    suspect = {case: _suspect(one, beside[case], n) for case, one in on.items()}
    pairs = {case: (on[case], beside[case].tally) for case in bench.cases}
    fixes, p = _fixes(pairs, suspect, n)
    guards = {guard: _held(on[guard], beside[guard].tally, suspect[guard], n) for guard in bench.guards}
    seen = {case: pair for case, pair in pairs.items() if pair[0].valid}
    lost = tuple(case for case, one in suspect.items() if one)
    undecided = _undecided(fixes, guards)
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
        worse=tuple(case for case, pair in pairs.items() if case in lost or _worse(pair)),
        lost=lost,
        invalid_live=sum(one.tally.invalid for one in beside.values()),
        wanted=tuple(_wanted(proof, version, bench, _Look(on, beside, suspect), undecided))
        if tried and version
        else (),
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of each case and guard: on the candidate, beside it on the live version, and what is odd."""

    on: Mapping[CaseId, Tally]
    beside: Mapping[CaseId, Beside]
    suspect: Mapping[CaseId, bool | None]


def _suspect(candidate: Tally, beside: Beside, n: int) -> bool | None:
    return provoked(candidate, beside.tally, n, opened=beside.live_from is not None)


def _held(candidate: Tally, live: Tally, suspect: bool | None, n: int) -> Held:
    if suspect:
        return Held.BROKEN
    return Held.UNDECIDED if suspect is None else held(candidate, live, n)


def _worse(pair: tuple[Tally, Tally]) -> bool:
    return bool(pair[0].valid) and worse(*pair, keypoints(*pair))


def keypoints(*tallies: Tally) -> tuple[str, ...]:
    """All keypoints that a trial of these marks, in the order first met."""
    return tuple(dict.fromkeys(mark.keypoint for one in tallies for trial in one.trials for mark in trial.marks))


def _levels(tally: Tally, points: Iterable[str]) -> int:
    return sum(tally.worst(point) or 0 for point in points)


def _fixes(
    pairs: Mapping[CaseId, tuple[Tally, Tally]], suspect: Mapping[CaseId, bool | None], n: int
) -> tuple[Mapping[CaseId, Fix], float | None]:
    """Where each case stands, and the p value over those in a live world.

    A case in a live world is fixed only with the batch's p; both sides are sampled to 3 n before that is denied.
    """
    odd = {True: Fix.NOT_FIXED, None: Fix.UNDECIDED}
    fixes = {case: odd.get(suspect[case]) or fix(candidate, n) for case, (candidate, _) in pairs.items()}
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


def _wanted(proof: Proof, version: Digest, bench: Bench, look: _Look, undecided: Iterable[CaseId]) -> Iterable[Wanted]:
    """What would decide the undecided: n trials of everything first, then 3 n of what takes rates to compare."""
    n, on = proof.rules.trials, look.on
    for case, suspect in look.suspect.items():
        if suspect is None:
            beside = look.beside[case]
            yield from _on_live(proof, case, beside, control_lacks(on[case], beside.tally, n, opened=_opened(beside)))
    first = [case for case, tally in on.items() if tally.valid < n and look.suspect[case] is False]
    for case in first or undecided:
        beside, goal = look.beside[case], n if first else 3 * n
        if look.suspect[case] is None:
            continue
        if not first and _opened(beside) and beside.tally.valid < n:
            # what the live version does in that world was not seen at all yet
            yield from _on_live(proof, case, beside, n - beside.tally.valid)
            continue
        if on[case].valid < goal:
            yield Wanted(case=case, version=version, more=goal - on[case].valid)
        # A case that failed shows by itself whether it passes 80 %: the live version waits until it does.
        by_itself = case in bench.cases and on[case].failed > 0 and on[case].valid < goal
        if not first and not by_itself:
            yield from _on_live(proof, case, beside, goal - beside.tally.valid)


def _opened(beside: Beside) -> bool:
    return beside.live_from is not None


def _on_live(proof: Proof, case: CaseId, beside: Beside, more: int) -> Iterable[Wanted]:
    if more > 0:
        yield Wanted(case=case, version=proof.base, more=more, live_from=beside.live_from)
