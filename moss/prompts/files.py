"""Owns the prompt files: versioned Markdown with fixed slots. Never a template engine.

Invariant: a file's hash covers every word of ours that a model reads with it (the common ground included), so the
hash that a stage's result records says which prompt it was.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from moss.domain.frozen import sha256
from moss.domain.ids import Digest

SLOT = re.compile(r"^\[\[([a-z_]+)\]\]$", re.MULTILINE)
FRONT = re.compile(r"\A---\nversion: (\d+)\n---\n")


@dataclass(frozen=True, slots=True)
class PromptFile:
    """One prompt: its text without the front matter, its version, the hash of both."""

    text: str
    version: int
    hash: Digest


@cache
def load(stage: str) -> PromptFile:
    """The prompt of a stage (`locate`, `plan`, ...) or of a `correction`.
    Raises: FileNotFoundError, ValueError (no front matter): a broken installation."""
    text, version = _read(stage)
    text = text.replace("[[ground]]", _read("ground")[0].strip()) if "[[ground]]" in text else text
    return PromptFile(text, version, Digest(sha256(f"{version}\n{text}".encode())))


def fill_slots(text: str, parts: dict[str, str]) -> str:
    """Each slot line of `text` with its part, in one pass over `text` alone: what was put in is never read again.
    Raises: KeyError for a slot without a part."""
    return SLOT.sub(lambda slot: parts[slot[1]], text)


def _read(name: str) -> tuple[str, int]:
    raw = (files("moss.prompts") / f"{name}.md").read_text()
    if not (front := FRONT.match(raw)):
        raise ValueError(f"{name}.md does not begin with its version")
    return raw[front.end() :], int(front[1])
