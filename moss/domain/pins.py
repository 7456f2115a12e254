"""Owns what of the settings a run stands on: a hash of each section, and which of them are others now. Pure.

Invariant: a setting that a newer MOSS added, at its default, changes no pin; so a run may wait over an upgrade.
"""

from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from moss.domain.frozen import digest
from moss.domain.ids import Digest


def pin(*values: BaseModel, leave_out: Iterable[str] = ()) -> Digest:
    """The hash of what was set in some values, but for fields that say nothing of the proof."""
    left = set(leave_out)
    said = [[type(one).__name__, one.model_dump(mode="json", exclude_defaults=True, exclude=left)] for one in values]
    return Digest(digest([*said]))


def changed(pinned: Mapping[str, Digest], now: Mapping[str, Digest]) -> tuple[str, ...]:
    """Names of the pins that are others now. What was not pinned when the run began is not asked for."""
    return tuple(name for name, was in pinned.items() if now.get(name) != was)
