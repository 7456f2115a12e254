"""Owns budgets: money, tokens, wall time, iterations and trials, reserved before they are spent.

Invariant: `spent + reserved <= limit` for every kind that has a limit. A meter that says nothing is exhausted.
"""

from pydantic import Field

from moss.domain.frozen import Frozen

KINDS = ("money_usd", "tokens", "seconds", "iterations", "trials")


class Spend(Frozen):
    """An amount of each kind: US dollars, model tokens, wall seconds, counts."""

    money_usd: float = Field(0.0, ge=0, allow_inf_nan=False)
    tokens: int = Field(0, ge=0)
    seconds: float = Field(0.0, ge=0, allow_inf_nan=False)
    iterations: int = Field(0, ge=0)
    trials: int = Field(0, ge=0)

    def __add__(self, other: "Spend") -> "Spend":
        return Spend.model_validate({kind: getattr(self, kind) + getattr(other, kind) for kind in KINDS})


class Budget(Frozen):
    """The limits of a run; `None` is no limit of that kind."""

    money_usd: float | None = Field(None, ge=0, allow_inf_nan=False)
    tokens: int | None = Field(None, ge=0)
    seconds: float | None = Field(None, ge=0, allow_inf_nan=False)
    iterations: int | None = Field(None, ge=0)
    trials: int | None = Field(None, ge=0)

    def lacks(self, spent: Spend, reserve: Spend) -> str | None:
        """The first kind that `reserve` would overrun on top of `spent`, as a sentence; None when all of it fits."""
        for kind in KINDS:
            limit, used, wanted = getattr(self, kind), getattr(spent, kind), getattr(reserve, kind)
            if limit is not None and wanted > 0 and used + wanted > limit:
                return f"{kind}: {wanted:g} wanted, {max(0, limit - used):g} of {limit:g} left"
        return None
