"""Owns how what the hold proxy says reads as a target's own answers, the same before a process and a container."""

from collections.abc import Iterable

from moss.hold.words import AnsweredLine, HeldSays, ReleasedSays
from moss.ports import Answered, Held, Released


def held(says: HeldSays) -> Held:
    return Held(says.drained, says.seconds, says.complete)


def released(says: ReleasedSays) -> Released:
    return Released(says.waited, says.longest_wait, says.refused)


def answered(lines: Iterable[AnsweredLine]) -> tuple[Answered, ...]:
    return tuple(
        Answered(line.id, line.at, line.method, line.path, line.status, line.body_sha, line.session) for line in lines
    )
