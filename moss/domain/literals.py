"""Owns the expected answers of a batch: what a repaired agent must produce and never have written into its source.

Never shown to a coding agent (`masked` takes them out of what is). Invariant: only texts that a check of a failure
case or a guard demands; a text that must be absent is none.
"""

from collections.abc import Iterable, Iterator

from moss.domain.batch import Batch
from moss.domain.case import Check, Contains, FileOnVolume, Grader, JsonPath, Regex, ToolCalled

SPECIAL = frozenset("\\^$.|?*+()[]{}")
"""A regular expression with any of these describes an answer; without, it is one."""
MASK = "[expected text]"


def expected_literals(batch: Batch) -> tuple[str, ...]:
    """Every text that a check of `batch` demands, longest first."""
    cases = (*batch.cases, *batch.guards)
    found = {text for case in cases for point in case.keypoints for text in literals_of(point.check) if text.strip()}
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def literals_of(check: Check) -> Iterator[str]:
    """The texts that one check demands."""
    match check:
        case Contains(text=text, absent=False):
            yield text
        case Regex(pattern=text, absent=False) | ToolCalled(matching=str() as text) if not SPECIAL & set(text):
            yield text
        case JsonPath(equals=str() as text) | FileOnVolume(contains=str() as text):
            yield text
        case Grader(arguments=arguments):
            yield from arguments
        case _:
            return


def absent_from(literals: Iterable[str], base: Iterable[str]) -> tuple[str, ...]:
    """Those that no text of the base holds: only they can have been copied in."""
    left = list(literals)
    for text in base:
        left = [literal for literal in left if literal not in text]
    return tuple(left)


def masked(text: str, literals: Iterable[str], shortest: int = 3) -> str:
    """`text` without the expected answers. Very short ones stay: they would tear words apart."""
    for literal in literals:
        if len(literal.strip()) >= shortest:
            text = text.replace(literal, MASK)
    return text
