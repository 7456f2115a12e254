"""Owns the words for a setting that is wrong: pydantic's errors as one sentence each, with the nearest right name.

Never shows a value that may be a secret: only words where a fixed choice was expected, and those short.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from moss.config import Settings

_CHOICES = ("literal_error", "enum", "union_tag_invalid")
_TOML_WORDS = {
    "model_type": "a table",
    "dict_type": "a table",
    "model_attributes_type": "a table",
    "tuple_type": "a list",
    "string_type": "a string",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}
_TELLS = re.compile(r"^[\w .:/-]{1,40}$")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong setting: its path in the file, what is wrong, what to do."""

    path: tuple[str | int, ...]
    sentence: str
    mend: str | None = None


def mistakes(error: ValidationError, tree: dict[str, Any]) -> list[Mistake]:
    """All mistakes of `tree`, unknown names first (they often explain what is missing), missing ones last."""
    order = {"extra_forbidden": 0, "missing": 2, "union_tag_not_found": 2}
    found = sorted(error.errors(include_url=False), key=lambda one: order.get(one["type"], 1))
    return [_mistake(one, tree) for one in found]


def _mistake(error: ErrorDetails, tree: dict[str, Any]) -> Mistake:
    path, value = _path(error, tree)
    name = str(path[-1]) if path else "it"
    match error["type"]:
        case "extra_forbidden":
            return Mistake(path, f"no setting is called `{_short(name)}`" + _nearest(name, _names(error["loc"])))
        case "missing":
            return Mistake(path, f"`{name}` is missing")
        case "union_tag_not_found":
            return Mistake((*path, "kind"), "`kind` is missing")
        case kind if kind in _CHOICES:
            context = error.get("ctx", {})
            told = str(context.get("expected") or context.get("expected_tags"))
            choices = re.findall(r"'([^']*)'", told)
            word = error["loc"][-2] if error["loc"][-1:] == ("[key]",) else value
            if kind == "union_tag_invalid":
                path, word = (*path, "kind"), value.get("kind")
            sentence = f"cannot be `{_short(word)}`: it is one of {', '.join(choices)}"
            return Mistake(path, sentence + _nearest(word, choices))
        case _:
            mend = f'{name} = {{ env = "NAME" }}' if _is_secret(error["loc"]) and isinstance(value, str) else None
            if mend:
                return Mistake(path, "a secret is never written here, only where it is found", mend)
            return Mistake(path, _plain(error))


def _plain(error: ErrorDetails) -> str:
    said = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if error["type"] in _TOML_WORDS:
        return f"should be {_TOML_WORDS[error['type']]}"
    return said[:1].lower() + " ".join(said[1:].split())[:300]


def _path(error: ErrorDetails, tree: dict[str, Any]) -> tuple[tuple[str | int, ...], Any]:
    """The error's place in the file and the value there: pydantic's own words (tags, types) are left out."""
    path: list[str | int] = []
    value: Any = tree
    words = error["loc"]
    for at, word in enumerate(words):
        inner: Any = dict(enumerate(value)) if isinstance(value, list) else value
        if isinstance(inner, dict) and word in inner:
            value = inner[word]
        elif not (error["type"] == "missing" and at == len(words) - 1):
            continue
        path.append(word)
    return tuple(path), value


# ------------------------------------------------------------------ names that would be right


def _names(loc: tuple[str | int, ...]) -> list[str]:
    """The settings that exist beside the last word of `loc`, by the settings' own schema."""
    whole = Settings.model_json_schema()
    here: Any = whole
    for word in loc[:-1]:
        here = next(_below(whole, here, word), {})
    return [name for one in _choices(whole, here) for name in one.get("properties", {})]


def _is_secret(loc: tuple[str | int, ...]) -> bool:
    return _names((*loc, "")) == ["env", "file"]


def _below(whole: dict[str, Any], here: Any, word: str | int) -> Iterator[Any]:
    """The schemas that `word` leads to; after a union comes its tag, a word that is not in the file."""
    if "discriminator" in here:
        yield {"$ref": here["discriminator"]["mapping"].get(str(word), "")}
        return
    for one in _choices(whole, here):
        if word in one.get("properties", {}):
            yield one["properties"][word]
        elif word == one.get("properties", {}).get("kind", {}).get("const"):
            yield one  # a union whose tag has a default
        elif isinstance(word, int) and "items" in one:
            yield one["items"]
        elif isinstance(one.get("additionalProperties"), dict):
            yield one["additionalProperties"]


def _choices(whole: dict[str, Any], here: Any) -> Iterator[dict[str, Any]]:
    """A place's schemas with references followed: several where it is a union."""
    if "$ref" in here:
        yield from _choices(whole, whole["$defs"].get(here["$ref"].rpartition("/")[2], {}))
        return
    yield here
    for one in (*here.get("anyOf", ()), *here.get("oneOf", ())):
        yield from _choices(whole, one)


def _nearest(word: object, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(word)[:80], list(names), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _short(word: object) -> str:
    text = str(word)
    return text if _TELLS.match(text) else "..."
