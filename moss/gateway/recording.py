"""Owns the form of a recording and how one is spoken again.

A recording is JSON lines, one `Exchange` a line, numbered by `ordinal` from 1 in the order in which the requests
were begun. The record of a grant has the same form, so the exchanges of a failing turn become a recording by `dump`.
Invariant: `load(dump(x)) == x`.
"""

from collections.abc import Iterable, Iterator, Sequence

from pydantic import ValidationError

from moss.domain.evidence import Chunk, Exchange
from moss.errors import UserError


def dump(exchanges: Iterable[Exchange]) -> bytes:
    """The bytes of a recording: what a store keeps as the artifact."""
    return b"".join(line(exchange) for exchange in exchanges)


def line(exchange: Exchange) -> bytes:
    return exchange.model_dump_json().encode() + b"\n"


def joined(turns: Iterable[Sequence[Exchange]]) -> tuple[Exchange, ...]:
    """The exchanges of several turns as one recording: numbered through, each turn's in its order."""
    exchanges = [each for turn in turns for each in sorted(turn, key=lambda each: each.ordinal)]
    return tuple(each.model_copy(update={"ordinal": number}) for number, each in enumerate(exchanges, 1))


def load(data: bytes) -> tuple[Exchange, ...]:
    """Raises: UserError naming the first line that is no exchange."""
    return tuple(_lines(data))


def load_whole_lines(data: bytes) -> tuple[Exchange, ...]:
    """As `load`, without an unfinished last line: what a killed gateway left."""
    return load(data[: data.rfind(b"\n") + 1])


def pace(chunks: Iterable[Chunk], at_most_seconds: float) -> Iterator[tuple[float, bytes]]:
    """(seconds to wait, bytes) of an answer, its time squeezed into `at_most_seconds`, proportions kept."""
    chunks = tuple(chunks)
    total = sum(max(0.0, chunk.after) for chunk in chunks)
    squeeze = min(1.0, at_most_seconds / total) if total > 0 else 0.0
    for chunk in chunks:
        yield max(0.0, chunk.after) * squeeze, chunk.data


def _lines(data: bytes) -> Iterator[Exchange]:
    for number, text in enumerate(data.split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            yield Exchange.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UserError(f"no exchange: {place} {first['msg']}", where=f"recording:{number}") from None
