"""Owns what a user may write below `[evidence]` in `moss.toml`: where turns are read, and the rules of the user's own.

Part of `moss.config`, which is where the rest of MOSS takes it from.
"""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from moss.domain.batch import GroupBy
from moss.domain.case import Check, Where, compiled
from moss.domain.frozen import Frozen

Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]


class Rule(Frozen):
    """A detector of the user's own: a turn in which `pattern` is found at `where` (or `tool` was called too often)."""

    name: Word
    where: Where = Where.TOOL_RESULTS
    pattern: str | None = Field(None, max_length=1000)
    tool: str | None = None
    more_than: int | None = Field(None, ge=0, description="with `tool`: calls in one turn above this count")
    signal: str | None = Field(None, description="bytes that such a turn's raw line holds: makes the scan fast")
    keypoints: tuple["RuleKeypoint", ...] = ()

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
        return pattern


class RuleKeypoint(Frozen):
    """What a turn recognised by the rule must do when it goes well. `{1}` in a grader's arguments is the rule's group 1
    of the match in the failing turn, or a capture of `from_user` in the user's message."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    says: str
    check: Check
    positive: bool = True
    from_user: str | None = Field(None, description="regular expression over the user's message; groups fill {1}, {2}")

    @field_validator("from_user")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        return pattern if pattern is None else compiled(pattern)


class JsonlEvidence(Frozen):
    """The neutral format, one turn a line (docs/evidence.md). `glob` is below the live state folder."""

    kind: Literal["jsonl"] = "jsonl"
    glob: str = "sessions/*.jsonl"


class HermesEvidence(Frozen):
    """The database of a Hermes Agent 0.17 to 0.19 (docs/hermes.md). `database` is below the live state folder."""

    kind: Literal["hermes"] = "hermes"
    database: str = Field("state.db", description="its file, relative to the live state folder")
    settled_seconds: float = Field(
        600.0, gt=0, description="a turn without its last word counts as ended when nothing was written for so long"
    )


class EvidenceSettings(Frozen):
    source: Annotated[JsonlEvidence | HermesEvidence, Field(discriminator="kind")] = JsonlEvidence()
    every_seconds: float = Field(60.0, gt=0)
    group_by: GroupBy = GroupBy.FINGERPRINT
    seal_at: int = Field(8, ge=1)
    rules: tuple[Rule, ...] = ()
    builtin: tuple[str, ...] = Field(
        ("tool-error", "stream-cut", "http-error", "length", "empty-reply", "exit-code"),
        description="built-in detectors that are on",
    )
    redact: tuple[str, ...] = Field((), description="patterns of the user's own, beside keys, tokens, mail and cards")
    own_words: bool = Field(
        False,
        description="the agent puts what the model says into words of its own (translates, fills a template): turns "
        "without tools are then told only by the model being asked; `moss flag --expect` says more",
    )
    guard_checks: tuple[Check, ...] = Field((), description="keypoints of every guard, beside status and same tools")
