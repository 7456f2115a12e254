"""Owns the diff policy: what of a coding agent's work may become a candidate. Never reads a file or runs git.

Invariant: a patch without a breach changes editable text files only; it never touches what builds, checks, starts or
judges the agent, unless `moss.toml` names that file; it takes away no test and holds no secret and no expected answer.

A breach is one sentence that goes back to the coding agent as feedback, so it never quotes a secret or an answer.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from pydantic import Field

from moss.domain.depth import DIALS
from moss.domain.frozen import Frozen, digest
from moss.domain.globs import matches
from moss.domain.ids import Digest
from moss.domain.patch import FileChange, FileText, Patch, read_text
from moss.domain.protected import NEVER, UNLESS_NAMED
from moss.domain.skips import skips_test
from moss.domain.source_secrets import source_secrets

VERSION = 3
"""Part of every policy hash: a change of the rules below is another policy."""

WILD = frozenset("*?[")

KEEP = "moss:keep"
"""A line of source that holds this word is a hook of MOSS or of the operator: it stays as it is."""

_NEVER = tuple(pattern.casefold() for pattern in NEVER)
_UNLESS_NAMED = tuple(pattern.casefold() for pattern in UNLESS_NAMED)
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

PATCH_BYTES = 1 << 20
FILES = 100
LINE_CHARS = 2000
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and signs that show as nothing."""
JOINERS = "\u200c\u200d"
"""What joins signs of some scripts and emoji; beside a plain letter it only hides."""
LITERAL_CHARS = 8
"""Shorter answers (`42`, `done`) are in any source; a longer one that appears with the change was copied in."""

ESCAPED = "write it as an escape where it is meant, else leave it out"
MEND = "mend the cause for any input, and use other values in tests"

SecretFinder = Callable[[str], Sequence[str]]
"""The kinds of secrets that a text holds (`aws-key`, `entropy`), without the secrets."""


class SourcePolicy(Frozen):
    """What may be changed. Patterns: `*`, `?`, `[..]` within a segment, `**` over segments; relative to the source."""

    editable: tuple[str, ...] = ("**",)
    protected: tuple[str, ...] = ()
    tests: tuple[str, ...] = Field(("tests/**",), description="may be added to, never changed or deleted")
    max_diff_lines: int = Field(400, ge=1)


class Rule(StrEnum):
    UNREADABLE = "unreadable"
    PATH = "path"
    PROTECTED = "protected"
    NOT_EDITABLE = "not_editable"
    TEST = "test"
    SKIP = "skip"
    BINARY = "binary"
    MODE = "mode"
    SIZE = "size"
    SECRET = "secret"  # noqa: S105
    LITERAL = "literal"
    KEPT_LINE = "kept_line"
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class Breach:
    """One rule that a patch breaks. `says` is a sentence for the coding agent."""

    rule: Rule
    says: str

    def __str__(self) -> str:
        return self.says


def check_patch(
    patch: Patch, settings: SourcePolicy, literals: Sequence[str] = (), secrets: SecretFinder = source_secrets
) -> Sequence[Breach]:
    """What `patch` breaks; nothing when it may become a candidate. An empty patch breaks nothing.

    `literals`: expected answers that the base does not hold (see `domain.literals`); those that stand in the patch's
    own context or removed lines are left out here. `secrets` gets the added lines of one file at a time.
    """
    try:
        texts = read_text(patch.text)
    except ValueError as error:
        return (Breach(Rule.UNREADABLE, f"The diff cannot be read: {error}."),)
    return (*_whole(patch, texts, settings), *_each(patch.files, settings), *_lines(texts, settings, literals, secrets))


def policy_hash(*pinned: Frozen) -> Digest:
    """What a consent pins: the settings given (what may be edited, checks, thresholds) and the built-in rules."""
    dials = {depth: asdict(dial) for depth, dial in DIALS.items()}
    rules = {"version": VERSION, "never": list(NEVER), "unless_named": list(UNLESS_NAMED), "dials": dials}
    return Digest(digest([rules, *(each.model_dump(mode="json") for each in pinned)]))


# ------------------------------------------------------------------ the patch as a whole


def _whole(patch: Patch, texts: Sequence[FileText], settings: SourcePolicy) -> Iterator[Breach]:
    named = {file.path for file in patch.files}
    written = {text.path for text in texts} | {text.old_path for text in texts if text.old_path}
    if named != written:
        odd = sorted(named ^ written)[0]
        yield Breach(Rule.UNREADABLE, f"The diff and its list of files do not agree on {shown(odd)}.")
    counted = sum(len(text.added) + len(text.removed) for text in texts)
    lines = max(counted, sum(file.added + file.removed for file in patch.files))
    for size, limit, unit in (
        (lines, settings.max_diff_lines, "changed lines"),
        (len(patch.text), PATCH_BYTES, "bytes of diff"),
        (len(patch.files), FILES, "files"),
    ):
        if size > limit:
            yield Breach(Rule.SIZE, f"The change has {size} {unit}; at most {limit} are allowed. Make a smaller one.")
    folded: dict[str, str] = {}
    for path in sorted(named):
        if (other := folded.setdefault(path.casefold(), path)) != path:
            yield Breach(Rule.PATH, f"{shown(path)} and {shown(other)} differ only in upper and lower case.")


# ------------------------------------------------------------------ each file


def _each(files: Sequence[FileChange], settings: SourcePolicy) -> Iterator[Breach]:
    for file in files:
        if odd := oddness(file.path):
            yield Breach(Rule.PATH, f"{shown(file.path)} cannot be a path of the source: {odd}.")
            continue
        yield from _place(file, settings)
        if file.binary:
            yield Breach(Rule.BINARY, f"{shown(file.path)} is binary; only text may be changed.")
        if file.status == "T" or file.mode not in (None, "100644", "100755"):
            yield Breach(Rule.MODE, f"{shown(file.path)} becomes a link or a submodule; only plain files are allowed.")


def _place(file: FileChange, settings: SourcePolicy) -> Iterator[Breach]:
    """Whether the file may be touched at all: protected before tests before editable."""
    path = file.path
    if is_protected(path, settings):
        yield Breach(Rule.PROTECTED, f"{shown(path)} is protected; leave it as it is.")
    elif is_test(path, settings):
        if file.status != "A":
            done = "deleted" if file.status == "D" else "changed"
            yield Breach(Rule.TEST, f"{shown(path)} is a test that was {done}; tests may only be added, in new files.")
    elif not matches(path, settings.editable):
        allowed = ", ".join(settings.editable)
        yield Breach(Rule.NOT_EDITABLE, f"{shown(path)} is outside of what may be edited ({allowed}).")


def is_protected(path: str, settings: SourcePolicy) -> bool:
    """Built-in patterns hold in any letter case, since some file systems make no difference."""
    folded = path.casefold()
    if matches(folded, _folded(settings.protected)) or matches(folded, _NEVER):
        return True
    named = [pattern for pattern in settings.editable if not WILD & set(pattern.rsplit("/", 1)[-1])]
    return matches(folded, _UNLESS_NAMED) and not matches(path, named)


def is_test(path: str, settings: SourcePolicy) -> bool:
    """`Tests/x.py` is one too where `tests/**` is."""
    return matches(path.casefold(), _folded(settings.tests))


def _folded(patterns: Sequence[str]) -> Iterator[str]:
    return (pattern.casefold() for pattern in patterns)


def oddness(path: str) -> str | None:
    """What is wrong with a path, None for a plain relative one."""
    parts = path.split("/")
    checks = (
        (not path or len(path.encode(errors="replace")) > 1024, "it is empty or too long"),
        (path.startswith(("/", "~")), "it is absolute"),
        (any(part in (".", "..") for part in parts), "it leads out of the tree"),
        (any(not part for part in parts), "it has an empty segment"),
        (any(char in path for char in '\\:"<>|?*'), "it holds a character that is no part of a name"),
        (any(unicodedata.category(char) in HIDDEN for char in path), "it holds a control or hidden character"),
        (any(part != part.strip() or part.endswith(".") for part in parts), "a segment begins or ends oddly"),
        (unicodedata.normalize("NFC", path) != path, "it is not in the normal form of Unicode"),
    )
    return next((why for wrong, why in checks if wrong), None)


# ------------------------------------------------------------------ lines


def _lines(
    texts: Sequence[FileText], settings: SourcePolicy, literals: Sequence[str], secrets: SecretFinder
) -> Iterator[Breach]:
    old = "\n".join(line for text in texts for line in (*text.removed, *text.kept))
    answers = [each for each in literals if len(each.strip()) >= LITERAL_CHARS and each not in old]
    for text in texts:
        name, added = shown(text.path), "\n".join(text.added)
        before, after = text.modes
        if after == "100755" and before != after:
            yield Breach(Rule.MODE, f"{name} becomes executable; modes stay as they are.")
        if any(KEEP in line for line in text.removed):
            yield Breach(Rule.KEPT_LINE, f"{name}: a line marked `{KEEP}` was changed or removed; it stays as it is.")
        if any(len(line) > LINE_CHARS for line in text.added):
            yield Breach(Rule.SIZE, f"{name}: an added line is longer than {LINE_CHARS} characters.")
        if hidden := next((char for line in text.added if (char := hides(line)) is not None), None):
            said = f"U+{ord(hidden):04X} {unicodedata.name(hidden, 'control')}"
            yield Breach(Rule.HIDDEN, f"{name}: an added line holds the invisible character {said}; {ESCAPED}.")
        if is_test(text.path, settings) and (marker := skips_test(text.added)):
            yield Breach(Rule.SKIP, f"{name}: `{marker}` leaves a test out; added tests must run.")
        if kinds := secrets(added):
            yield Breach(Rule.SECRET, f"{name}: an added line holds a secret ({', '.join(sorted(set(kinds)))}).")
        if any(answer in added for answer in answers):
            yield Breach(Rule.LITERAL, f"{name}: an added line holds an expected answer; {MEND}.")


def hides(line: str) -> str | None:
    """The first character of a line that a reader does not see: controls, directions (CVE-2021-42574), blank letters.

    Tabs, form feeds, a carriage return at the end, and joiners beside letters that are not ASCII may be there.
    """
    if line.isascii() and line.isprintable():
        return None
    body = line.removesuffix("\r")
    for at, char in enumerate(body):
        if char in "\t\f" or (unicodedata.category(char) not in UNSEEN and char not in BLANK_LETTERS):
            continue
        if char in JOINERS and at > 0 and not body[at - 1].isascii():
            continue
        return char
    return None


def shown(path: str) -> str:
    """A path as one short printable word."""
    printable = "".join(char if unicodedata.category(char) not in HIDDEN else "?" for char in path)
    return f"`{printable[:200]}`"
