"""Owns how the pages for people are read by tests: their links, their blocks, the commands that they name."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]))


@dataclass(frozen=True)
class Block:
    """A fenced block. `mark`: the word of a `<!-- test: WORD -->` line above it."""

    page: Path
    line: int
    kind: str
    mark: str
    text: str


@dataclass(frozen=True)
class Shown:
    """One command of a `console` block, and what it is shown to say."""

    line: int
    command: str
    says: tuple[str, ...]
    code: int


def blocks(page: Path) -> Iterator[Block]:
    mark, kind, start, held = "", None, 0, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = re.match(r"^```(\w*)", line)
        if kind is not None:
            if fence:
                yield Block(page, start, kind, mark, "\n".join(held) + "\n")
                mark, kind = "", None
            else:
                held.append(line)
        elif fence:
            kind, start, held = fence[1], number, []
        elif found := re.match(r"<!-- test: (\S+) -->", line):
            mark = found[1]
        elif line.strip():
            mark = ""


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def console(page: Path) -> list[Shown]:
    """Commands of the page's `console` blocks, in order. `[exit 3]` among the output is the exit code."""
    found: list[Shown] = []
    for block in blocks(page):
        if block.kind != "console":
            continue
        for offset, line in enumerate(block.text.splitlines(), 1):
            if line.startswith("$ "):
                found.append(Shown(block.line + offset, line[2:].split("  #")[0].rstrip(), (), 0))
            elif code := re.fullmatch(r"\[exit (\d+)\]", line):
                found[-1] = Shown(found[-1].line, found[-1].command, found[-1].says, int(code[1]))
            elif line.strip():
                found[-1] = Shown(found[-1].line, found[-1].command, (*found[-1].says, line), found[-1].code)
    return found


def moss_commands(page: Path) -> list[list[str]]:
    """The words after `moss` of every command that the page names, in blocks and between backticks."""
    texts = [line for block in blocks(page) if block.kind in ("console", "sh", "") for line in block.text.splitlines()]
    texts += re.findall(r"`([^`\n]+)`", prose(page))
    found = []
    for text in texts:
        for part in re.split(r"&&|\|\||[;|·]|  #", text.removeprefix("$ ")):
            words = _split(part.strip().rstrip("&").strip())
            if words and (words[0] == "moss" or words[0].endswith("bin/moss")):
                found.append(words[1:])
    return found


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    heads = re.findall(r"^#+ +(.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def pattern(line: str) -> "re.Pattern[str]":
    """A shown line as what may be printed: `...` is anything, a number is any number, blanks are any blanks."""
    words = []
    for word in re.split(r"(\.\.\.|\s+)", line.strip().removesuffix(" ...")):
        if word == "...":
            words.append(".*")
        elif word.isspace():
            words.append(r"\s+")
        else:
            words.append(re.sub(r"(?<![\w/])[0-9a-f]{7,}(?!\w)|(?:\\\.)?\d[\d,]*", r"[\\d.,a-f]+", re.escape(word)))
    return re.compile("".join(words))
