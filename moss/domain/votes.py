"""Owns what jurors' votes are worth: whether a quote is really in the evidence, and whether votes name a limit.

Never promotes anything: a vote can end a run, nothing else. Invariant: one juror, a quote that is not in the evidence,
or a quote that itself argues for a verdict never makes a limit.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol

from moss.domain.batch import Batch
from moss.domain.evidence import Turn

LimitWord = Literal["limit_model", "limit_architecture"]
LIMITS: tuple[LimitWord, ...] = ("limit_model", "limit_architecture")

QUOTE_LETTERS = 12
"""A shorter quote proves nothing: it is found anywhere."""
JURORS = 2

ARGUES = re.compile(
    r"limit[_\s-]*(model|architecture)|fundamental[_\s-]*limit|no\s+source\s+change|juror|verdict", re.IGNORECASE
)
"""Words about the verdict. Evidence shows what happened; a transcript that speaks of MOSS's verdicts was written to
steer one, so such a quote counts for nothing."""


class Voted(Protocol):
    """What is looked at of a vote, whoever carries it (`ports.Vote`, `events.JurorVote`, `proof.LimitVote`)."""

    @property
    def juror(self) -> str: ...
    @property
    def says(self) -> str: ...
    @property
    def quote_found(self) -> bool: ...


def quote_found(quote: str, batch: Batch) -> bool:
    """Whether `quote` stands in one of the batch's turns, blanks aside, and is long and factual enough to count."""
    wanted = _plain(quote)
    if len(wanted) < QUOTE_LETTERS or ARGUES.search(wanted):
        return False
    return any(wanted in _plain(text) for text in texts_of(batch))


def limit_of(votes: Sequence[Voted]) -> LimitWord | None:
    """The limit that two jurors of different names vouch for, each with a quote that was found; None without.
    A juror who says different things says nothing; two limits at once are none."""
    backers = {word: _backers(votes, word) for word in LIMITS}
    agreed = [word for word in LIMITS if len(backers[word]) >= JURORS]
    return agreed[0] if len(agreed) == 1 else None


def texts_of(batch: Batch) -> Iterator[str]:
    """Every text of the failing turns and of those before them: what a quote is looked up in. Guards are not shown
    to jurors, so they are no evidence."""
    for case in batch.cases:
        for turn in (case.turn, *case.earlier):
            yield from _texts_of(turn)


def _texts_of(turn: Turn) -> Iterator[str]:
    yield from (text for text in (turn.user, turn.reply, turn.error) if text)
    for tool in turn.tools:
        yield from (text for text in (tool.arguments, tool.result, tool.error) if text)


def _backers(votes: Iterable[Voted], word: LimitWord) -> set[str]:
    said: dict[str, set[tuple[str, bool]]] = {}
    for vote in votes:
        said.setdefault(vote.juror.strip().casefold(), set()).add((vote.says, vote.quote_found))
    return {
        juror
        for juror, words in said.items()
        if juror and {says for says, _ in words} == {word} and any(found for _, found in words)
    }


def _plain(text: str) -> str:
    return " ".join(text.split())
