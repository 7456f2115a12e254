"""The pages for people: links resolve, commands exist, nothing of this machine is in them."""

import ast
import importlib
import re
import socket
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer

from moss.adapters.notify.webhook import sign
from moss.cli.table import COMMANDS, GLOBALS
from tests.docs.pages import PAGES, ROOT, anchors, blocks, console, links, moss_commands, pattern

MACHINE = ("/work/", "/home/", "/root/", "/tmp/w", "/shared/", str(ROOT), socket.gethostname())
REGISTRIES = ("pypi.org", "pythonhosted", "registry.npmjs", "proxy.golang", "index-url", "ghcr.io/", "docker.io/")
DOCS = ROOT / "docs"
named = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@named
def test_every_link_between_pages_resolves(page: Path) -> None:
    for link in links(page):
        there = urlsplit(link)
        if there.scheme:
            continue
        target = (page.parent / there.path).resolve() if there.path else page
        assert target.exists(), f"{link} leads nowhere"
        if there.fragment:
            assert there.fragment in anchors(target), f"{link}: no such heading"


@named
def test_nothing_of_this_machine_and_no_registry_is_named(page: Path) -> None:
    text = page.read_text()
    assert not [word for word in (*MACHINE, *REGISTRIES) if len(word) > 3 and word in text]


@named
def test_every_command_that_is_named_exists_with_its_options(page: Path) -> None:
    for words in moss_commands(page):
        while words and words[0] in ("--home", "--config", "--server"):
            words = words[2:]
        name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else " ".join(words[:1])
        if name in ("", "...", "X", "--help", "--version") or name.startswith("--"):
            continue
        nouns = {command.split(" ")[0] for command in COMMANDS if " " in command}
        assert name in COMMANDS or (name in nouns and len(words) == 1), f"there is no `moss {' '.join(words)}`"
        given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        if given and name in COMMANDS:
            assert given <= options(name), f"`moss {' '.join(words)}`: no option {given - options(name)}"


@cache
def options(name: str) -> set[str]:
    """What a command takes, beside what every command takes."""
    module, _, function = COMMANDS[name].place.partition(":")
    app = typer.Typer(add_completion=False)
    app.command(name)(getattr(importlib.import_module(f"moss.cli.{module}"), function))
    own = {word for param in typer.main.get_command(app).params for word in (*param.opts, *param.secondary_opts)}
    return own | {words.split(" ")[0] for words, _ in GLOBALS} | {"--help"}


def test_the_readme_is_one_screen_and_its_commands_are_run_by_the_quickstart() -> None:
    readme = ROOT / "README.md"
    assert len(readme.read_text().splitlines()) <= 60
    run = [shown.command for shown in console(DOCS / "quickstart.md")]
    for words in moss_commands(readme):
        head = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0] if words else ""
        if head in COMMANDS:
            assert any(f"moss {head}" in command for command in run), f"the quickstart never runs moss {head}"


def test_every_page_says_what_to_do_next() -> None:
    for page in sorted(DOCS.glob("*.md")):
        assert re.search(r"^Next: ", page.read_text(), flags=re.MULTILINE), f"{page.name} ends without a next step"


def test_every_page_of_docs_can_be_reached_from_the_readme() -> None:
    seen, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        ahead += [(page.parent / link.split("#")[0]).resolve() for link in links(page) if not urlsplit(link).scheme]
    assert {*DOCS.glob("*.md")} <= seen


def test_the_map_of_the_code_is_whole() -> None:
    said = (ROOT / "CONTRIBUTING.md").read_text()
    parts = [path for path in (ROOT / "moss").iterdir() if path.name not in ("__init__.py", "__pycache__")]
    parts += [path for path in (ROOT / "moss" / "adapters").iterdir() if path.is_dir() and path.name != "__pycache__"]
    names = [str(path.relative_to(ROOT)) for path in parts if path.suffix in ("", ".py")]
    assert len(names) > 25
    assert not [name for name in names if name not in said and not name.endswith("moss/adapters")]


# ------------------------------------------------------------------ operations


def test_the_webhook_check_takes_what_moss_signs_and_nothing_else() -> None:
    (block,) = [one for one in blocks(DOCS / "operations.md") if one.mark == "webhook"]
    scope: dict[str, object] = {}
    exec(compile(block.text, str(block.page), "exec"), scope)
    genuine = scope["genuine"]
    assert callable(genuine)
    body, secret, at = b'{"id":"ev-01/7/released"}', b"shh", 1_800_000_000
    header = sign(secret, at, body)
    assert genuine(header, body, secret, at + 5.0)
    assert not genuine(header, body + b" ", secret, at + 5.0)
    assert not genuine(header, body, b"shhh", at + 5.0)
    assert not genuine(header, body, secret, at + 301.0), "an old one is a replay"
    assert not genuine(header.replace(f"t={at}", f"t={at + 100}"), body, secret, at + 100.0)
    for garbage in ("", "v1=", "t=,v1=", "t=1", "a,b", "t=²,v1=00"):
        assert not genuine(garbage, body, secret, 1.0)


def test_the_sentences_of_troubleshooting_are_those_that_moss_says() -> None:
    table = (DOCS / "operations.md").read_text().partition("## Troubleshooting")[2]
    rows = re.findall(r"^\| `(.+?)`(?: \.\.\. `(.+?)`)? \|", table, flags=re.MULTILINE)
    assert len(rows) >= 15
    said = "\n".join(sentences())
    for row in rows:
        for sentence in filter(None, row):
            for piece in filter(str.strip, re.split(r"\.\.\.", sentence)):
                if piece.strip() != "moss.toml:14":
                    assert piece.strip() in said, f"nothing in MOSS says {piece.strip()!r}"


def sentences() -> list[str]:
    """Every text that the product's code holds; what an f-string fills in is a gap."""
    found = []
    for path in (ROOT / "moss").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [str(one.value) if isinstance(one, ast.Constant) else "\0" for one in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


# ------------------------------------------------------------------ the reader itself


def test_a_shown_line_is_matched_by_words_and_not_by_numbers() -> None:
    assert pattern("held ... drained in 0.8 s").search("14:02:13 held        2 turns drained in 12.4 s, new ones wait")
    assert pattern("clerk:9f2c1e7 runs").search("live agent  clerk:abfba50 runs")
    assert not pattern("3 of 3 fixed").search("3 of 3 failed")
    assert not pattern("clerk:... runs").search("clerk:abfba50 does not run")


def test_blocks_commands_and_exit_codes_are_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    block = "```console\n$ moss review ev-01  # look\nBatch 3\n[exit 3]\n```\n"
    page.write_text(f"a `moss log RUN --all` b\n\n<!-- test: x -->\n{block}")
    (shown,) = console(page)
    assert (shown.command, shown.says, shown.code) == ("moss review ev-01", ("Batch 3",), 3)
    assert next(iter(blocks(page))).mark == "x"
    assert moss_commands(page) == [["review", "ev-01"], ["log", "RUN", "--all"]]
