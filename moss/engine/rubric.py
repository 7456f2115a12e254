"""Owns how jurors mark a rubric keypoint. A rubric without jurors, or whose jurors all fail, is not met."""

from statistics import median_low

from moss.domain.case import Keypoint, Level, Rubric
from moss.domain.frozen import canonical
from moss.domain.ids import Key
from moss.domain.trial import Mark, Observation
from moss.engine.offload import offload
from moss.engine.parts import Parts


async def rubric_mark(parts: Parts, key: Key, point: Keypoint, observation: Observation) -> Mark:
    """The lower median of the jurors' levels, with their reasons. Raises: ModelError (the trial is then invalid)."""
    assert isinstance(point.check, Rubric)
    if not parts.judges:
        return Mark(keypoint=point.id, level=Level.MISSING, because="no juror is configured for this rubric")
    record = canonical(observation).decode()
    levels, reasons = [], []
    for judge in parts.judges:
        level, because = await offload(judge.level, point.check.sentence, record, Key(f"{key}/rubric/{point.id}"))
        levels.append(level)
        reasons.append(f"{judge.name}: {because}")
    return Mark(keypoint=point.id, level=Level(median_low(levels)), because="; ".join(reasons)[:1000])
