"""Owns the way from evidence to sealed batches: scans, failures and guards, flags, batches. Never starts a run.

Synchronous, like the ports it calls: the engine runs it in its pool. Invariants: a turn becomes a failure once,
whatever is killed or scanned twice; what could not be read or judged stays listed and is tried again; a failure is
in one batch at most.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import structlog

from moss.domain.batch import Batch, BatchState, GroupBy
from moss.domain.case import Case, World
from moss.domain.cases import MOST_EXPECTED, failure_case, guard_case, parse_expect
from moss.domain.detect import Detectors, fingerprint_of, slug
from moss.domain.evidence import Failure, Guard, Turn
from moss.domain.frozen import digest
from moss.domain.guards import choose, wanted, went_well, worth_keeping
from moss.domain.ids import CaseId, Digest, FailureId, Fingerprint
from moss.domain.notice import NoticeKind
from moss.domain.proof import FEWEST_GUARDS
from moss.engine.own_sessions import own_sessions
from moss.engine.parts import Parts
from moss.engine.recordings import Recordings
from moss.engine.second_run import refuse_second
from moss.errors import Refused, UserError
from moss.ports import BatchRow, Notice, Rejected, Scan

log = structlog.get_logger()

EARLIER = 12
"""Turns before a failing one that a trial sends again."""
MOST_CASES = 20
"""Failures of one batch: each costs trials."""
SCAN_LOOKS = 200
"""Times that one scan asks the gateway for recordings: a first scan of years of sessions must not ask for each turn.
What it leaves is looked up when its batch is sealed."""
WANTED_LOOKS = 2000
LOOKED_AT = "turn "
"""How the place of a turn starts that a detector could not look at."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What is known after a scan: all sessions and turns so far, new failures of this scan, what stays refused."""

    sessions: int
    turns: int
    failures: int
    new: int
    rejected: int


@dataclass(slots=True)
class _Tally:
    new: int = 0
    sessions: int = 0
    rejected: set[Rejected] = field(default_factory=set)


class Curator:
    """One for a home. A second scan waits for the first."""

    def __init__(self, parts: Parts, detectors: Detectors) -> None:
        self._parts, self._detectors = parts, detectors
        self._store, self._settings = parts.store, parts.settings.evidence
        self._source = f"{parts.settings.substrate.name}:{self._settings.source.kind}"
        self._scanning = threading.Lock()

    # ------------------------------------------------------------------ scanning

    def scan(self) -> Scanned:
        """Everything new in the evidence. Raises: UserError when some of it cannot be read, after the rest was."""
        with self._scanning:
            root, tally = self._parts.target.evidence_root(), _Tally()
            recordings = self._recordings()
            self._retry_turns(recordings, tally)
            cursors = self._store.cursors(self._source)
            for piece in self._parts.evidence.scan(root, cursors, self._detectors.signals):
                self._take(piece, recordings, tally)
            self._forget_readable(tally)
            self._announce(self._sealed())
            return self._scanned(tally)

    def _take(self, piece: Scan, recordings: Recordings, tally: _Tally) -> None:
        failures: list[Failure] = []
        guards: list[Guard] = []
        rejected = [*piece.rejected]
        kept = self._store.counts().get("guards", 0)
        own = own_sessions(self._parts)
        for turn in (turn for turn in piece.turns if turn.session not in own):
            rejected += self._judge(turn, recordings, failures, guards, kept)
        now = self._parts.clock.now()
        tally.new += self._store.save_scan(
            self._source, failures, guards, piece.cursors, rejected, now, counted=piece.counted, sessions=piece.sessions
        )
        tally.rejected.update(rejected)

    def _judge(
        self, turn: Turn, recordings: Recordings, failures: list[Failure], guards: list[Guard], kept: int
    ) -> Iterator[Rejected]:
        """Sorts one turn; gives what a detector could not look at."""
        findings, broken = self._detectors.look(turn)
        if findings:
            failures.append(
                Failure(
                    id=turn.id,
                    fingerprint=fingerprint_of(findings),
                    turn=recordings.tie(turn),
                    findings=findings,
                    earlier=self._earlier(turn, recordings),
                )
            )
        elif not broken and went_well(turn) and worth_keeping(turn, kept + len(guards)):
            # A guard's recording is asked for when a batch is sealed with it: most guards never are.
            guards.append(Guard(id=turn.id, turn=turn, earlier=self._earlier(turn)))
        for one in broken:
            yield Rejected(turn.session, f"{LOOKED_AT}{turn.id}", one.because, Digest(digest(turn)))

    def _earlier(self, turn: Turn, recordings: Recordings | None = None) -> tuple[Turn, ...]:
        if turn.ordinal == 1:
            return ()
        root = self._parts.target.evidence_root()
        before = self._parts.evidence.history(root, turn.session, turn.ordinal, EARLIER)
        return tuple(recordings.tie(one) if recordings else one for one in before)

    def _retry_turns(self, recordings: Recordings, tally: _Tally) -> None:
        """Looks again at turns that a detector could not look at."""
        for item in self._store.rejected(self._source):
            if not item.where.startswith(LOOKED_AT):
                continue
            session, _, ordinal = item.where.removeprefix(LOOKED_AT).rpartition("#")
            turn = self._turn(session, int(ordinal))
            if turn is None:
                tally.rejected.add(item)
                continue
            failures: list[Failure] = []
            again = [*self._judge(turn, recordings, failures, [], 0)]
            tally.rejected.update(again)
            now = self._parts.clock.now()
            tally.new += self._store.save_scan(self._source, failures, (), (), again, now)

    def _forget_readable(self, tally: _Tally) -> None:
        """What was refused before and was not refused again could be read: the scan went through everything."""
        gone = [item for item in self._store.rejected(self._source) if item not in tally.rejected]
        if gone:
            self._store.drop_rejected(self._source, gone)

    def _scanned(self, tally: _Tally) -> Scanned:
        counts = self._store.counts()
        return Scanned(
            sessions=counts.get("sessions", 0),
            turns=counts.get("turns", 0),
            failures=counts.get("failures", 0),
            new=tally.new,
            rejected=len(tally.rejected),
        )

    # ------------------------------------------------------------------ by hand

    def flag(self, session: str, ordinal: int, because: str, expect: Sequence[str], by: str) -> Failure:
        """A failure that a person saw; one that waits already gets the person's words and expectations, too.

        Raises: UserError for a turn that is not there or an expectation that is none of the known forms.
        """
        wishes = tuple(self._parts.redact(text) for text in expect)
        for text in wishes:
            parse_expect(text)
        turn = self._turn(session, ordinal)
        if turn is None:
            raise UserError(
                f"there is no turn {ordinal} in the session", where=session[:80], mend="look up its name and its turns"
            )
        told = {"flagged_by": by, "because": self._parts.redact(because)}
        name, number = turn.id, 1
        while (known := self._store.failure(name)) is not None:
            expected = _bounded((*known.expect, *wishes))
            known = known.model_copy(update={**told, "expect": expected})
            if self._store.amend(known):
                return known
            # it is in a batch or was closed: flagged again it is another failure
            number += 1
            name = FailureId(f"{turn.id}+{number}")
        return self._flag_anew(name, turn, {**told, "expect": _bounded(wishes)})

    def _flag_anew(self, name: FailureId, turn: Turn, told: Mapping[str, object]) -> Failure:
        recordings = self._recordings()
        findings, _ = self._detectors.look(turn)
        plain = Failure(
            id=name,
            fingerprint=fingerprint_of(findings) if findings else _flagged(str(told["because"])),
            turn=recordings.tie(turn),
            findings=findings,
            earlier=self._earlier(turn, recordings),
        )
        flagged = plain.model_copy(update=told)
        self._store.save_scan(self._source, [flagged], (), (), (), self._parts.clock.now())
        return flagged

    def dismiss(self, fingerprint: Fingerprint, because: str) -> int:
        """Closes the open failures of a fingerprint; a later one re-opens it. How many were closed."""
        return self._store.dismiss(fingerprint, self._parts.redact(because), self._parts.clock.now())

    def _turn(self, session: str, ordinal: int) -> Turn | None:
        root = self._parts.target.evidence_root()
        found = self._parts.evidence.history(root, session, ordinal + 1, 1)
        if found and found[-1].ordinal == ordinal:
            return found[-1]
        # a session whose name was redacted may be found by its own name only, or where it was kept
        known = self._store.failure(FailureId(f"{session}#{ordinal}"))
        return known.turn if known else None

    # ------------------------------------------------------------------ batches

    def seal_ripe(self) -> tuple[Batch, ...]:
        """Seals each group that is large enough, unless one of its name is sealed or running already. What cannot
        be sealed now (too few guards, its defect is in a run) stays in the pool until the next time."""
        by: Literal["session", "fingerprint"] = (
            "session" if self._settings.group_by is GroupBy.CONVERSATION else "fingerprint"
        )
        taken = {row.label for state in (BatchState.SEALED, BatchState.RUNNING) for row in self._rows(state)}
        sealed: list[Batch] = []
        for label, count in self._store.open_groups(by):
            if count < self._settings.seal_at or label in taken:
                continue
            try:
                sealed.append(self.seal(label))
            except Refused as error:
                log.info("not sealed", label=label, because=str(error))
        return tuple(sealed)

    def seal(self, label: str) -> Batch:
        """A batch of the open failures of a fingerprint or a session; a sealed batch that waits (by its id or its
        label) is given as it is. Raises: Refused with the reason; nothing was changed."""
        if (waiting := self._waiting(label)) is not None:
            return waiting
        refuse_second(self._store, label, self._parts.clock.now())
        group, failures = self._group(label)
        if not failures:
            raise Refused(f"no open failure has the fingerprint or session {label[:80]!r}", mend="moss failures")
        chosen, guards = self._chosen(failures)
        recordings = self._recordings(WANTED_LOOKS)
        batch = Batch(
            id=self._store.new_batch_id(),
            substrate=self._parts.settings.substrate.name,
            group_by=group,
            label=label,
            sealed_at=self._parts.clock.now(),
            cases=tuple(self._case(one, number, recordings) for number, one in enumerate(chosen, 1)),
            guards=tuple(self._guard(one, number, recordings) for number, one in enumerate(guards, 1)),
        )
        self._store.seal(batch)
        self._announce([batch])
        return batch

    def _case(self, failure: Failure, number: int, recordings: Recordings) -> Case:
        name, world = CaseId(f"{_name(failure)}-{number}"), self._world(failure, recordings)
        return failure_case(failure, name, self._detectors, world, own_words=self._settings.own_words)

    def _guard(self, guard: Guard, number: int, recordings: Recordings) -> Case:
        name, world, checks = CaseId(f"guard-{number}"), self._world(guard, recordings), self._settings.guard_checks
        return guard_case(guard, name, checks, world, own_words=self._settings.own_words)

    def _waiting(self, label: str) -> Batch | None:
        for row in self._rows(BatchState.SEALED):
            if label in (row.id, row.label):
                return self._store.batch(row.id)
        return None

    def _chosen(self, failures: Sequence[Failure]) -> tuple[list[Failure], tuple[Guard, ...]]:
        """Cases and guards, at least as many guards as cases. Raises: Refused when too few turns went well."""
        chosen = _spread(failures, MOST_CASES)
        guards = choose(self._store.guards(), wanted(len(chosen)), [one.turn for one in failures])
        if len(guards) < FEWEST_GUARDS:
            raise Refused(
                f"only {len(guards)} turns that went well can stand guard, a batch needs {FEWEST_GUARDS}. "
                "Nothing was changed.",
                mend="let the agent serve more turns, then: moss scan",
            )
        # failures that no guard is left for wait in the pool for the next batch
        chosen = _spread(failures, min(MOST_CASES, len(guards)))
        return chosen, guards[: wanted(len(chosen))]

    def oldest_sealed(self) -> BatchRow | None:
        """What `moss start` without a name takes."""
        return next(iter(self._store.batches(BatchState.SEALED, limit=1)), None)

    def _group(self, label: str) -> tuple[GroupBy, Sequence[Failure]]:
        found = self._store.failures(fingerprint=Fingerprint(label), unbatched=True, limit=10 * MOST_CASES)
        if found:
            return GroupBy.FINGERPRINT, found
        return GroupBy.CONVERSATION, self._store.failures(session=label, unbatched=True, limit=10 * MOST_CASES)

    def _world(self, one: Failure | Guard, recordings: Recordings) -> World:
        """Where the turn and all before it were recorded, the recording is replayed until the first divergence."""
        turns = [recordings.tie(turn) for turn in (*one.earlier, one.turn)]
        return World(recording=recordings.whole(turns), on_divergence=self._parts.settings.gateway.on_divergence)

    def _rows(self, state: BatchState) -> Sequence[BatchRow]:
        return self._store.batches(state, limit=1000)

    def _sealed(self) -> Iterator[Batch]:
        for row in self._rows(BatchState.SEALED):
            if (batch := self._store.batch(row.id)) is not None:
                yield batch

    def _announce(self, batches: Iterable[Batch]) -> None:
        """Once each by the notice's id: a controller killed between seal and notice makes it good at the next scan."""
        for batch in batches:
            body = {
                "substrate": batch.substrate,
                "batch": batch.id,
                "label": batch.label,
                "cases": len(batch.cases),
                "guards": len(batch.guards),
                "redacted": sum(case.redacted for case in batch.cases),
            }
            self._store.enqueue(
                Notice(f"{NoticeKind.BATCH_SEALED}/{batch.id}", NoticeKind.BATCH_SEALED, batch.sealed_at, None, body)
            )

    def _recordings(self, looks: int = SCAN_LOOKS) -> Recordings:
        return Recordings(self._parts.gateway, self._store, self._parts.redact, looks)


def _flagged(because: str) -> Fingerprint:
    return Fingerprint(f"flagged-{slug(because) or 'turn'}"[:60].rstrip("-"))


def _bounded(expect: Sequence[str]) -> tuple[str, ...]:
    once = tuple(dict.fromkeys(expect))
    if len(once) > MOST_EXPECTED:
        raise UserError(
            f"{len(once)} expectations of one turn, at most {MOST_EXPECTED} are kept", mend="keep those that matter"
        )
    return once


def _name(failure: Failure) -> str:
    return slug(failure.fingerprint, numbers=True)[:50] or "failure"


def _spread(failures: Sequence[Failure], most: int) -> list[Failure]:
    """Up to `most` failures: one of each user first, then one of each session, then the rest, oldest first."""
    chosen: dict[FailureId, Failure] = {}
    kinds: tuple[Callable[[Failure], str], ...] = (
        lambda one: one.turn.user_id or one.turn.session,
        lambda one: one.turn.session,
        lambda one: one.id,
    )
    for kind in kinds:
        seen: set[str] = set()
        for one in failures:
            if kind(one) not in seen and len(chosen) < most:
                chosen.setdefault(one.id, one)
            seen.add(kind(one))
    return sorted(chosen.values(), key=lambda one: (one.turn.at, one.id))
