"""Owns how a process of the substrate is started: the one function behind trial, check, preflight and live.

What was proven is what goes live: the roles differ only in `extra` (outward effects off), gateway and token.
Never a shell: templates are argv words, and only known placeholders are filled in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Launch:
    """argv and environment, with the adapter's placeholders (`{port} {state} {image} {work}`...) still in them."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


def fill(word: str, values: Mapping[str, str]) -> str:
    """`word` with each `{name}` of `values` put in, in one pass: a value that holds braces is never filled again."""
    parts: list[str] = []
    rest = word
    while rest:
        at, name = _first(rest, values)
        if name is None:
            parts.append(rest)
            break
        parts += [rest[:at], values[name]]
        rest = rest[at + len(name) + 2 :]
    return "".join(parts)


def fill_all(words: Iterable[str], values: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(fill(word, values) for word in words)


def launch(argv: tuple[str, ...], env: Mapping[str, str], extra: Mapping[str, str], gateway: str, token: str) -> Launch:
    """The start of one substrate process. `extra` wins over `env`; nothing of this process's environment is added."""
    values = {"gateway": gateway, "token": token}
    merged = {**env, **extra}
    return Launch(fill_all(argv, values), {name: fill(value, values) for name, value in merged.items()})


def _first(text: str, values: Mapping[str, str]) -> tuple[int, str | None]:
    found = [(text.find("{" + name + "}"), name) for name in values]
    hits = [(at, name) for at, name in found if at >= 0]
    return min(hits) if hits else (-1, None)
