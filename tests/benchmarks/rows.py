"""Owns what a benchmark says: one figure against its limit, the table of many, their JSON. Measures nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `least`: the limit is what it must reach, else what it may be at most. `value` None: it could not
    be measured, `beside` says why. `beside`: the figures it was made of, for people."""

    name: str
    says: str
    value: float | None
    limit: float
    unit: str
    least: bool = False
    beside: str = ""

    @property
    def ok(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.limit if self.least else self.value <= self.limit


def table(rows: Sequence[Row]) -> str:
    """Name, figure, limit, whether it holds, and what it is."""
    cells = [("name", "measured", "limit", "", "what")]
    for row in rows:
        bound = f"{'>=' if row.least else '<='} {_short(row.limit)} {row.unit}"
        says = f"{row.says} ({row.beside})" if row.beside else row.says
        cells.append((row.name, f"{_short(row.value)} {row.unit}", bound, "ok" if row.ok else "MISSED", says))
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line[:4], widths, strict=True)) + f"  {line[4]}"
        for line in cells
    )


def document(rows: Sequence[Row]) -> str:
    """The last line of `make bench`."""
    return json.dumps({row.name: {"value": row.value, "limit": row.limit, "ok": row.ok} for row in rows})


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
