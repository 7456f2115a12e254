"""Owns the scripted model: rules that answer a request's last message. A stand-in for tests and the demo. Pure.

The first rule decides whose `role` is that of the last message and whose `pattern` is found in its text
(`re.search`, DOTALL and IGNORECASE); its groups fill `{1}`, `{2}` in texts, tool names and arguments.
Invariant: it keeps no state: the same request gets the same answer.
"""

import json
import re
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from moss.domain.frozen import Frozen
from moss.domain.launch import fill, fill_all
from moss.errors import UserError
from moss.gateway.wire import Called, Heard, Said

TEXT_LIMIT = 200_000
"""Patterns look at this many letters of the last message."""
SCRIPT_LIMIT = 8 << 20


class Fault(Frozen):
    """How a scripted answer goes wrong: another status, the connection cut after so many bytes of its body, or a stream
    that ends in good order after so many of its events, as if that were all.

    `once`: only a request that its box did not make before; the same request again is answered well.
    """

    status: int | None = Field(None, ge=400, le=599)
    cut_after: int | None = Field(None, ge=0)
    ends_after: int | None = Field(None, ge=0)
    once: bool = False

    @model_validator(mode="after")
    def _one(self) -> "Fault":
        if (self.status, self.cut_after, self.ends_after).count(None) != 2:
            raise ValueError("name one of `status`, `cut_after` and `ends_after`")
        return self


class ScriptedCall(Frozen):
    """A tool call. `arguments` as text is given as it is: so a model can be scripted that writes broken JSON.
    As a list it is the pieces in which a stream gives it, as they are."""

    name: str = Field(min_length=1, max_length=200)
    arguments: dict[str, Any] | str | tuple[str, ...] = Field(default_factory=dict)


class ScriptRule(Frozen):
    """One rule. `delay` in seconds before the answer."""

    role: Literal["user", "tool", "any"] = "any"
    pattern: str = Field("", max_length=2000)
    tool_calls: tuple[ScriptedCall, ...] = ()
    text: str = ""
    delay: float = Field(0.0, ge=0, le=600, allow_inf_nan=False)
    fault: Fault | None = None

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


class Script(Frozen):
    """A scripted model."""

    version: Literal[1] = 1
    rules: tuple[ScriptRule, ...] = Field(max_length=10_000)


def read_script(data: bytes, where: str = "script") -> Script:
    """Raises: UserError with the place of the mistake."""
    if len(data) > SCRIPT_LIMIT:
        raise UserError(f"a script of more than {SCRIPT_LIMIT} bytes", where=where)
    try:
        return Script.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{place or 'script'}: {first['msg']}", where=where) from None


def find_rule(script: Script, heard: Heard) -> tuple[ScriptRule, Said] | None:
    """The rule that answers and what it says; None when no rule fits."""
    text = heard.text[-TEXT_LIMIT:]
    for rule in script.rules:
        if rule.role not in ("any", heard.role):
            continue
        found = re.search(rule.pattern, text, re.DOTALL | re.IGNORECASE)
        if found:
            return rule, _said(rule, found)
    return None


def _said(rule: ScriptRule, found: re.Match[str]) -> Said:
    groups = {str(number): value or "" for number, value in enumerate((found[0], *found.groups()))}
    calls = [_called(call, groups) for call in rule.tool_calls]
    return Said(fill(rule.text, groups), tuple(calls))


def _called(call: ScriptedCall, groups: dict[str, str]) -> Called:
    name = fill(call.name, groups)
    match call.arguments:
        case str() as text:
            return Called(name, fill(text, groups))
        case tuple() as parts:
            pieces = fill_all(parts, groups)
            return Called(name, "".join(pieces), pieces)
        case arguments:
            return Called(name, json.dumps(_filled(arguments, groups)))


def _filled(value: Any, groups: dict[str, str]) -> Any:
    match value:
        case str():
            return fill(value, groups)
        case dict():
            return {name: _filled(item, groups) for name, item in value.items()}
        case list():
            return [_filled(item, groups) for item in value]
        case _:
            return value
