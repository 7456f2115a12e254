"""Owns the depth dial: how hard one run tries. Figures: design 3."""

from dataclasses import dataclass
from enum import StrEnum


class Depth(StrEnum):
    LIGHT = "light"
    STANDARD = "standard"
    DEEP = "deep"


@dataclass(frozen=True, slots=True)
class Dial:
    """Bounds of one run: counts, except `plateau` (iterations without a better score before giving up)."""

    iterations: int
    plan_rounds: int
    code_rounds: int
    trials: int
    plateau: int


DIALS: dict[Depth, Dial] = {
    Depth.LIGHT: Dial(iterations=3, plan_rounds=1, code_rounds=1, trials=2, plateau=1),
    Depth.STANDARD: Dial(iterations=5, plan_rounds=2, code_rounds=2, trials=3, plateau=2),
    Depth.DEEP: Dial(iterations=8, plan_rounds=3, code_rounds=3, trials=5, plateau=3),
}
