"""Owns what one check of `moss doctor` says. No logic."""

from enum import StrEnum

from moss.domain.frozen import Frozen


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


class Look(Frozen):
    """One line of doctor."""

    name: str
    level: Level
    detail: str
    mend: str | None = None
