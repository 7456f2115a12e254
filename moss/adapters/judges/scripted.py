"""Owns the scripted juror: it votes and marks as its script says. For tests and the demo, and called scripted there.

Never looks anything up: whether its quotes are in the evidence is found out by `domain.votes`, as for any juror.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from moss.domain.batch import Batch
from moss.domain.frozen import Frozen
from moss.domain.ids import Key
from moss.errors import ModelDown, UserError
from moss.ports import Vote

SCRIPT_BYTES = 1 << 20


class ScriptedVote(Frozen):
    """A vote in an iteration (None: in any)."""

    iteration: int | None = Field(None, ge=1)
    says: Literal["fixable", "limit_model", "limit_architecture"]
    because: str = ""
    quote: str = ""


class ScriptedLevel(Frozen):
    """A mark for a rubric sentence (None: for any), where the record holds `when`."""

    sentence: str | None = None
    when: str = ""
    level: int = Field(ge=0, le=3)
    quote: str = ""


class JurorScript(Frozen):
    """The whole script: the first entry that fits is said; without one a juror finds the batch fixable."""

    votes: tuple[ScriptedVote, ...] = ()
    levels: tuple[ScriptedLevel, ...] = ()


class ScriptedJudge:
    """One juror of a script file."""

    scripted = True

    def __init__(self, name: str, script: Path) -> None:
        """Raises: UserError for a script that cannot be read."""
        self.name = name
        self._script = _read(script)

    def limits(self, batch: Batch, lessons: Sequence[str], key: Key) -> Vote:
        """The vote that the script has for the iteration of `key` (`run/iteration/stage/round`)."""
        iteration = iteration_of(key)
        for vote in self._script.votes:
            if vote.iteration in (None, iteration):
                return Vote(self.name, vote.says, vote.because, vote.quote)
        return Vote(self.name, "fixable", "the script has no vote for this iteration", "")

    def level(self, sentence: str, record: str, key: Key) -> tuple[int, str]:
        """The level that the script has for the sentence. Raises: ModelDown when it has none."""
        for mark in self._script.levels:
            if mark.sentence in (None, sentence) and mark.when in record:
                return mark.level, mark.quote
        raise ModelDown(f"juror {self.name}: the script has no level for {sentence[:200]!r}")


def iteration_of(key: Key) -> int | None:
    """The iteration that a key names; None where it names none."""
    parts = key.split("/")
    return int(parts[1]) if len(parts) > 1 and parts[1].isascii() and parts[1].isdigit() else None


def _read(script: Path) -> JurorScript:
    where = str(script)
    try:
        with script.open("rb") as handle:
            text = handle.read(SCRIPT_BYTES + 1)
        if len(text) > SCRIPT_BYTES:
            raise UserError(f"the juror's script is larger than {SCRIPT_BYTES} bytes", where=where)
        return JurorScript.model_validate_json(text)
    except OSError as error:
        raise UserError(f"the juror's script cannot be read: {error.strerror}", where=where) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise UserError(
            f"the juror's script is not good: {place}: {first['msg']}", where=where, mend='write {"votes": [...]}'
        ) from None
