"""Owns how settings are read: `moss.toml`, then `MOSS_*`, then what the command line says. Never their meaning.

Every mistake is one `UserError` sentence with its place and, where it can be told, the mend. Secrets are resolved
from their references by `resolve`, at the last moment, and no message repeats one.
"""

import json
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from moss.config import Secret, Settings
from moss.errors import UserError
from moss.settings.mistakes import Mistake, mistakes
from moss.settings.places import line_of

LARGEST = 1 << 20
LARGEST_SECRET = 64 << 10
PREFIX = "MOSS_"
DEFAULT_HOME = ".moss"


def load(path: Path, env: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Settings:
    """The settings of a `moss.toml`. `overrides`: dotted key -> value, as the command line gave them.

    `MOSS_LIVE__PORT` is `live.port`; a value that begins like a list or a table is read as TOML. The home and the
    files of secrets are absolute afterwards, by the folder of the file; the others by `Settings.path`.
    Raises: UserError.
    """
    text = _text(path)
    tree = _tree(path, text)
    if "root" in tree:
        raise UserError("the root is the folder of this file", where=_place(path, text, ("root",)), mend="remove it")
    words = dict(_from_env(env))
    said = {tuple(key.split(".")): value for key, value in (overrides or {}).items()}
    for place, value in (*words.items(), *said.items()):
        _put(tree, place, value)
    root = path.absolute().parent
    tree.setdefault("home", DEFAULT_HOME)
    _absolute(tree, root)
    try:
        settings = _validated(tree, root, words)
    except ValidationError as error:
        raise _first(mistakes(error, tree), path, text, words) from None
    return settings.model_copy(update={"home": root / settings.home})


def resolve(secret: Secret, env: Mapping[str, str]) -> str:
    """The secret itself. Raises: UserError when it is not there, empty, or no single line of printable text."""
    if secret.env is not None:
        value = env.get(secret.env)
        if value is None:
            raise UserError(f"the environment variable {secret.env} is not set", mend=f"export {secret.env}=...")
        return _one_line(value, f"the environment variable {secret.env}")
    assert secret.file is not None
    data = _regular(secret.file, LARGEST_SECRET)
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UserError("the secret is not UTF-8 text", where=str(secret.file)) from None
    return _one_line(text, f"the file {secret.file}")


def _one_line(value: str, where: str) -> str:
    if not value.strip():
        raise UserError(f"{where} is empty", mend="put the secret there")
    if "\n" in value or "\r" in value:
        raise UserError(f"{where} holds a line break", mend="it must be one line")
    if not value.isprintable() or value != value.strip():
        raise UserError(f"{where} holds blanks at an end or a character that cannot be printed")
    return value


# ------------------------------------------------------------------ reading


def _regular(path: Path, largest: int) -> bytes:
    """The bytes of a regular file of bounded size. Raises: UserError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError("is not a regular file", where=str(path))
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except FileNotFoundError:
        raise UserError("there is no such file", where=str(path)) from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read: {getattr(error, 'strerror', None) or error}", where=str(path)) from None
    if len(data) > largest:
        raise UserError(f"is larger than {largest >> 10} KiB", where=str(path))
    return data


def _text(path: Path) -> str:
    if not path.exists():
        raise UserError("there is no such file", where=str(path), mend="moss init writes one")
    data = _regular(path, LARGEST)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError("is not UTF-8 text", where=f"{path.name}:{line}") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError("holds a NUL character", where=f"{path.name}:{line}")
    return text


def _tree(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said, _, at = str(error).partition(" (at ")
        line = at.partition("line ")[2].partition(",")[0]
        where = f"{path.name}:{line if line.isdigit() else text.count(chr(10)) + 1}"
        raise UserError(f"is no TOML: {said[:1].lower()}{said[1:200]}", where=where) from None
    except (ValueError, RecursionError):
        raise UserError("is no TOML: a number is too long or values are nested too deeply", where=path.name) from None


def _from_env(env: Mapping[str, str]) -> list[tuple[tuple[str, ...], object]]:
    """(path, value) of each `MOSS_*` that names a setting; others, such as keys of upstreams, are none."""
    found: list[tuple[tuple[str, ...], object]] = []
    for name in sorted(env):
        place = tuple(word.lower() for word in name.removeprefix(PREFIX).split("__"))
        if name.startswith(PREFIX) and place[0] in Settings.model_fields and place[0] != "root" and all(place):
            found.append((place, env[name]))
    return found


def _put(tree: dict[str, Any], place: tuple[str, ...], value: object) -> None:
    for word in place[:-1]:
        inner = tree.setdefault(word, {})
        if not isinstance(inner, dict):
            raise UserError(f"{'.'.join(place)} cannot be set: `{word}` is no table")
        tree = inner
    tree[place[-1]] = value


def _absolute(tree: Any, root: Path) -> None:
    """Makes the files of secrets absolute: whoever resolves one no longer knows the folder."""
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for one in inner:
        if isinstance(one, dict) and list(one) == ["file"] and isinstance(one["file"], str):
            one["file"] = str(root / one["file"])
        _absolute(one, root)


# ------------------------------------------------------------------ checking


def _validated(tree: dict[str, Any], root: Path, words: Mapping[tuple[str, ...], object]) -> Settings:
    """Strict for the file; a word of the environment that does not fit as text is read as a TOML value."""
    try:
        return _strict(tree, root)
    except ValidationError as error:
        wrong = {mistake.path for mistake in mistakes(error, tree)}
        again = [place for place in words if any(path[: len(place)] == place for path in wrong)]
        if not again:
            raise
        for place in again:
            _put(tree, place, _as_toml(str(words[place])))
        return _strict(tree, root)


def _strict(tree: dict[str, Any], root: Path) -> Settings:
    try:
        # By way of JSON, where strict means "no text for a number" and not "no list for a tuple".
        written = json.dumps(tree | {"root": str(root)}, default=str)
    except (ValueError, RecursionError):
        raise UserError("a number of the settings is too long or values are nested too deeply") from None
    return Settings.model_validate_json(written, strict=True)


def _as_toml(word: str) -> object:
    try:
        return tomllib.loads(f"value = {word}")["value"] if "\n" not in word else word
    except (ValueError, RecursionError):
        return word


def _first(found: list[Mistake], path: Path, text: str, words: Mapping[tuple[str, ...], object]) -> UserError:
    """The mistake to tell: what is written wrong before what is missing."""
    mistake = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    for place in words:
        if mistake.path[: len(place)] == place:
            where = PREFIX + "__".join(place).upper()
            return UserError(mistake.sentence + more, where=where, mend=mistake.mend)
    return UserError(mistake.sentence + more, where=_place(path, text, mistake.path), mend=mistake.mend)


def _place(path: Path, text: str, key: tuple[str | int, ...]) -> str:
    line = line_of(text, key)
    dotted = "".join(f"[{word}]" if isinstance(word, int) else f".{word}" for word in key).lstrip(".")
    # A name may hold anything when it is quoted: it must not move a terminal's cursor.
    shown = "".join(letter if letter.isprintable() else "?" for letter in dotted[:200])
    return f"{path.name}:{line or 1} {shown}".rstrip()
