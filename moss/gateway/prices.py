"""Owns what tokens cost: a dated table that a user can override. Pure but for reading the file.

Money is counted in nano-dollars (whole numbers), so that sums of many small calls neither drift nor round to nothing.
"""

import re
import tomllib
from datetime import date
from pathlib import Path

from pydantic import Field, ValidationError

from moss.domain.frozen import Frozen
from moss.errors import UserError
from moss.gateway.wire import Tokens

NANO = 1_000_000_000
BUILT_IN = Path(__file__).with_name("prices.toml")
DATED_NAME = re.compile(r"(-\d{4}-\d{2}-\d{2}|-\d{8}|-latest)$")


class Price(Frozen):
    """US dollars for a million tokens. `cached` None: cached input costs as much as other input."""

    input: float = Field(ge=0, le=100_000, allow_inf_nan=False)
    output: float = Field(ge=0, le=100_000, allow_inf_nan=False)
    cached: float | None = Field(None, ge=0, le=100_000, allow_inf_nan=False)

    def cost(self, tokens: Tokens) -> int:
        """Nano-dollars, rounded up."""
        cached = self.input if self.cached is None else self.cached
        micro = (tokens.sent - tokens.cached) * self.input + tokens.cached * cached + tokens.said * self.output
        return -int(-micro * 1000 // 1)

    def most(self, sent: int, said: int) -> int:
        """The most that a call of so many tokens costs, in nano-dollars."""
        return max(self.cost(Tokens(sent, said)), self.cost(Tokens(sent, said, cached=sent)))


class PriceTable(Frozen):
    """`dated`: when the figures were true."""

    dated: date
    models: dict[str, Price] = Field(default_factory=dict)

    def price(self, model: str) -> Price | None:
        """The row of a model, by its name or by its name without a date; None when it is unknown."""
        return self.models.get(model) or self.models.get(DATED_NAME.sub("", model))

    def over(self, other: "PriceTable") -> "PriceTable":
        return PriceTable(dated=max(self.dated, other.dated), models={**other.models, **self.models})


def load_prices(own: Path | None) -> PriceTable:
    """The built-in table under the user's rows. Raises: UserError with the place of the mistake."""
    built_in = _read(BUILT_IN)
    return _read(own).over(built_in) if own else built_in


def _read(path: Path) -> PriceTable:
    try:
        return PriceTable.model_validate(tomllib.loads(path.read_bytes().decode()))
    except OSError as error:
        raise UserError(f"the price table cannot be read: {error.strerror}", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{place}: {first['msg']}", where=str(path)) from None
    except ValueError as error:
        raise UserError(f"the price table is not TOML: {error}", where=str(path)) from None
