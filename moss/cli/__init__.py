"""Owns the command line: which command is meant, what it exits with, how an error is said. Nothing else.

Each command is a function of a module of its own, imported when it is called. Invariant: no traceback reaches a
person (MOSS_DEBUG=1 shows it), and the exit code says how it ended: 0 done, 1 refused or failed, 2 wrong use,
3 waits for a person, 130 interrupted with nothing lost.
"""

import gc
import os
import sys
from typing import Any

DONE, FAILED, WRONG_USE, WAITING, INTERRUPTED = 0, 1, 2, 3, 130

_WITH_VALUE = ("--home", "--config", "--server")
_FLAGS = ("--json", "--quiet")


def main(argv: list[str] | None = None) -> int:
    """Runs one command; its exit code."""
    # A short command makes many objects and hardly any garbage: looking for some takes a tenth of its time.
    gc.set_threshold(20_000, 20, 20)
    # pydantic would read the metadata of every installed package for plugins, and hand them all that we validate.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _called(words)
    except KeyboardInterrupt:
        print("moss: interrupted; nothing was lost", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        return _said(error, words)


def _called(words: list[str]) -> int:
    from moss.cli.table import COMMANDS, overview

    given, rest = lift(words)
    if "--version" in rest[:1]:
        from importlib.metadata import version

        print(f"moss {version('moss-evolve')}")
        return DONE
    if rest[:1] == ["help"] and len(rest) > 1:
        rest = [*rest[1:], "--help"]
    name, rest = _named(rest)
    command = COMMANDS.get(name)
    if command is None:
        return _no_command(name, rest, overview)
    from moss.cli.calling import call

    return call(name, command, given, rest)


def lift(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The options of every command, wherever they stand before `--`, and the words that are left. Raises: UserError."""
    given: dict[str, Any] = {}
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            rest += [word, *queue]
            break
        if word in _FLAGS:
            given[word[2:]] = True
        elif name in _WITH_VALUE:
            given[name[2:]] = value if equals else _value(name, queue)
        else:
            rest.append(word)
    return given, rest


def _value(name: str, queue: list[str]) -> str:
    """Raises: UserError when there is none."""
    from moss.errors import UserError

    if not queue or queue[0].startswith("--"):
        raise UserError(f"{name} needs a value", mend="moss --help")
    return queue.pop(0)


def _named(rest: list[str]) -> tuple[str, list[str]]:
    """The command's name, of one word or two, and its own words."""
    from moss.cli.table import COMMANDS

    two = " ".join(rest[:2])
    return (two, rest[2:]) if two in COMMANDS else (rest[0] if rest else "", rest[1:])


def _no_command(name: str, rest: list[str], overview: Any) -> int:
    from moss.cli.table import COMMANDS

    nouns = {one.split(" ")[0] for one in COMMANDS if " " in one}
    if name in ("", "--help", "-h", "help") or (name in nouns and (not rest or rest[0] in ("--help", "-h"))):
        print(overview(name if name in nouns else ""))
        return DONE if name else WRONG_USE
    import difflib

    from moss.api.plain import plain

    said = f"{name} {rest[0]}" if name in nouns and rest else name
    close = difflib.get_close_matches(said[:80], COMMANDS, n=1)
    guess = f"; did you mean `moss {close[0]}`?" if close else ""
    what = "option" if name.startswith("-") else "command"
    _complain(f"there is no {what} `{plain(said, 80)}`{guess}", "moss --help lists them")
    return WRONG_USE


def _said(error: Exception, words: list[str]) -> int:
    """The error's sentence and mend on stderr, the mend as it is to be typed; its exit code."""
    if os.environ.get("MOSS_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    from moss.cli.calling import told

    sentence, mend, code = told(error)
    if "--json" in words:
        import json

        bare = mend.removeprefix("mend: ") if mend else mend
        print(json.dumps({"error": type(error).__name__, "sentence": sentence, "mend": bare, "exit": code}))
    _complain(sentence, _typed(mend, words))
    return code


def _typed(mend: str | None, words: list[str]) -> str | None:
    from moss.cli.hints import typed, way
    from moss.errors import UserError

    try:
        return typed(mend, way(lift(words)[0])) if mend else mend
    except UserError:
        return mend


def _complain(sentence: str, mend: str | None) -> None:
    print(f"moss: {sentence}", file=sys.stderr)
    if mend:
        print(f"      {mend}", file=sys.stderr)
