"""Owns cases and their checks: how a turn is sent again and how one tells that it went well. Never runs one.

Invariant: every case has a positive keypoint that is observed from outside the candidate (`Case` refuses others).
"""

import json
import re
from enum import IntEnum, StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from moss.domain.evidence import Finding, Observed, Turn
from moss.domain.frozen import Frozen
from moss.domain.ids import CaseId, Digest, FailureId, Fingerprint


class Level(IntEnum):
    """How well a keypoint was met in one trial (the paper's scale)."""

    MISSING = 0
    WEAK = 1
    ADEQUATE = 2
    STRONG = 3


def compiled(pattern: str) -> str:
    """The pattern itself. Raises: ValueError when it is no Python `re` pattern."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


class Where(StrEnum):
    """The text that a check looks at."""

    REPLY = "reply"
    """the HTTP answer's text, as the client got it"""
    TOOL_ARGUMENTS = "tool_arguments"
    TOOL_RESULTS = "tool_results"
    REQUESTS = "requests"
    """what the agent asked the model, from the gateway's record"""


class Contains(Frozen):
    kind: Literal["contains"] = "contains"
    where: Where = Where.REPLY
    text: str = Field(min_length=1)
    absent: bool = False


class Regex(Frozen):
    """`pattern` is Python `re`, searched. It is compiled when read, so a bad one is refused with its place."""

    kind: Literal["regex"] = "regex"
    where: Where = Where.REPLY
    pattern: str = Field(min_length=1, max_length=1000)
    absent: bool = False

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        return compiled(pattern)


class JsonPath(Frozen):
    """`path` is dotted keys and indexes (`choices.0.message`); holds when the value there equals `equals`."""

    kind: Literal["json_path"] = "json_path"
    path: str
    equals: str | int | float | bool | None = None
    exists: bool | None = None


class JsonSchema(Frozen):
    """The HTTP answer's body against a JSON Schema (2020-12), given as JSON text."""

    kind: Literal["json_schema"] = "json_schema"
    schema_text: str

    @field_validator("schema_text")
    @classmethod
    def _is_a_schema(cls, text: str) -> str:
        from jsonschema import Draft202012Validator, SchemaError

        try:
            Draft202012Validator.check_schema(json.loads(text))
        except (ValueError, RecursionError):
            raise ValueError("not JSON") from None
        except SchemaError as error:
            raise ValueError(f"not a JSON Schema: {error.message[:200]}") from None
        return text


class Status(Frozen):
    kind: Literal["status"] = "status"
    equals: int = 200


class ToolCalled(Frozen):
    """A tool was called (between `at_least` and `at_most` times). `matching` is searched in its arguments.

    With `succeeds` a call counts only when its result (the tool message of the next model request, as the gateway
    recorded it) is there and is no error (`detect.result_error` finds none).
    """

    kind: Literal["tool_called"] = "tool_called"
    tool: str
    at_least: int = Field(1, ge=0)
    at_most: int | None = None
    matching: str | None = Field(None, max_length=1000, description="a regular expression")
    succeeds: bool = False

    @field_validator("matching")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        return pattern if pattern is None else compiled(pattern)


class ToolOrder(Frozen):
    kind: Literal["tool_order"] = "tool_order"
    tools: tuple[str, ...] = Field(min_length=2)


class ExitCode(Frozen):
    """The exit code of an exec turn."""

    kind: Literal["exit_code"] = "exit_code"
    equals: int = 0


class Latency(Frozen):
    kind: Literal["latency"] = "latency"
    at_most_seconds: float = Field(gt=0)


class FileOnVolume(Frozen):
    """A file under the state folder, by relative path, holding `contains` where given."""

    kind: Literal["file"] = "file"
    path: str
    contains: str | None = None


class Grader(Frozen):
    """A program in a box of its own. It gets the trial's record and a copy of the state, read-only.

    `argv` comes from `moss.toml`. Exit 0 is strong, 10 adequate, 11 weak, 1 missing; all else: the grader failed.
    """

    kind: Literal["grader"] = "grader"
    name: str
    argv: tuple[str, ...] = Field(min_length=1)
    arguments: tuple[str, ...] = Field((), description="of this case, e.g. an order number: argv words, never a shell")


class Silent(Frozen):
    """The detector that recognised the failure finds nothing in the trial's transcript."""

    kind: Literal["silent"] = "silent"
    detector: str


class FromModel(Frozen):
    """What the agent says is what the model said: `share` of the words of its last answer are in the reply.

    For turns that need nothing but an answer: an agent that says the same to everybody does not pass.
    """

    kind: Literal["from_model"] = "from_model"
    share: float = Field(0.5, gt=0, le=1, description="of the words of the model's last answer")


class Rubric(Frozen):
    """A sentence that k jurors hold against the trial's record; any level."""

    kind: Literal["rubric"] = "rubric"
    sentence: str


Check = Annotated[
    Contains
    | Regex
    | JsonPath
    | JsonSchema
    | Status
    | ToolCalled
    | ToolOrder
    | ExitCode
    | Latency
    | FileOnVolume
    | Grader
    | Silent
    | FromModel
    | Rubric,
    Field(discriminator="kind"),
]


class Keypoint(Frozen):
    """One thing that a good answer does. `positive`: it must happen, not merely be absent."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    says: str
    check: Check
    positive: bool
    observed: Observed

    @property
    def outside(self) -> bool:
        """Seen from outside the candidate: its own transcript cannot make it true."""
        return self.observed is not Observed.TRANSCRIPT


class OnDivergence(StrEnum):
    """What the gateway does from the first request on that differs from the recording."""

    LIVE = "live"
    SCRIPT = "script"
    FAIL = "fail"
    EMPTY = "empty"


class World(Frozen):
    """What surrounds a trial. `recording`: the failing turn's model exchanges (artifact), replayed until divergence."""

    recording: Digest | None = None
    on_divergence: OnDivergence = OnDivergence.LIVE
    script: Digest | None = Field(None, description="artifact: a scripted model, for tests and the demo")
    seed: str | None = Field(None, description="folder of `moss.toml` that is copied as the state before the turn")


class CaseKind(StrEnum):
    FAILURE = "failure"
    GUARD = "guard"


class Case(Frozen):
    """One turn to be sent again, with what comes before it and how to judge it."""

    id: CaseId
    kind: CaseKind
    source: FailureId
    fingerprint: Fingerprint | None = None
    turn: Turn
    earlier: tuple[Turn, ...] = ()
    findings: tuple[Finding, ...] = ()
    keypoints: tuple[Keypoint, ...] = Field(min_length=1, max_length=7)
    world: World = World()
    redacted: bool = Field(False, description="some of its text was redacted: it may replay differently")
    words_only: bool = Field(False, description="it is told by its words alone: nobody said what it should do")

    @model_validator(mode="after")
    def _seen_from_outside(self) -> "Case":
        if not any(point.positive and point.outside for point in self.keypoints):
            raise ValueError(f"case {self.id}: no positive keypoint is observed from outside the candidate")
        return self
