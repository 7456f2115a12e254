"""Owns how words of a command line become a closed ask, and the options that several commands share.

Invariant: a value that does not fit is one `UserError` with the option's name, never pydantic's own words.
"""

import re
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from moss.api.plain import plain
from moss.domain.budget import Budget
from moss.domain.frozen import Frozen
from moss.errors import UserError

T = TypeVar("T", bound=Frozen)

Limit = Annotated[int, typer.Option(min=1, max=1000, help="at most so many")]
Offset = Annotated[int, typer.Option(min=0, max=10_000_000, help="after so many")]
Because = Annotated[str, typer.Option("--because", help="why, for the journal")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="a run, as moss runs lists it")]

_BUDGET = re.compile(r"^(\d{1,12}(?:\.\d{1,6})?)\s*(usd|tokens?|s|min|h|trials?|iterations?)$", re.IGNORECASE)
_SECONDS = {"s": 1, "min": 60, "h": 3600}
BUDGETS = "--budget 4USD, 200000tokens, 30min, 100trials or 5iterations"


def asked(kind: type[T], **fields: Any) -> T:
    """The ask. Raises: UserError."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise refused(error) from None


def refused(error: ValidationError) -> UserError:
    """The first mistake as one sentence, without the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(word) for word in first["loc"]) or "it"
    said = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return UserError(f"{plain(name, 60)}: {said[:1].lower()}{plain(said[1:], 200)}")


def budget(words: list[str] | None) -> Budget | None:
    """`4USD`, `200000tokens`, `30min`, `100trials`; several together. Raises: UserError."""
    if not words:
        return None
    fields: dict[str, Any] = {}
    for word in [part for one in words for part in one[:200].split(",")]:
        match = _BUDGET.match(word.strip())
        if match is None:
            raise UserError(f"`{plain(word, 40)}` is no budget", mend=BUDGETS)
        fields |= _limit(float(match[1]), match[2].lower())
    return asked(Budget, **fields)


def _limit(number: float, unit: str) -> dict[str, Any]:
    if unit == "usd":
        return {"money_usd": number}
    if unit in _SECONDS:
        return {"seconds": number * _SECONDS[unit]}
    if number != int(number):
        raise UserError(f"{number:g} {unit} cannot be counted", mend="a whole number")
    return {unit.rstrip("s") + "s": int(number)}
