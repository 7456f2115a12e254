"""Owns the box of a grader: its program, a copy of what a trial left, the answer. Never holds candidate code.

A grader's `{root}/...` names a file or folder beside `moss.toml`. It is copied, so that it is there in any kind of box,
and nothing else of this host is: of a file the folder that it stands in, since a program has parts.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from moss.domain.case import Grader
from moss.domain.frozen import canonical
from moss.domain.ids import Key, RunId
from moss.domain.trial import Answer
from moss.errors import GraderBroken
from moss.files import copy_tree
from moss.ports import BoxRole, BoxSpec, Limits, Mount, MountName

ROOT = re.compile(r"\{root\}(?:/([^\s:;,='\"]+))?")
FILES, BYTES = 5_000, 64 << 20


def grader_box(
    key: Key, run: RunId, grader: Grader, places: tuple[Path, Path], answer: Answer, memory_bytes: int
) -> BoxSpec:
    """`places`: what `bring_along` copied, and a copy of the state; both read-only inside."""
    program, state = places
    return BoxSpec(
        key=key,
        run=run,
        role=BoxRole.GRADER,
        argv=tuple(word.replace("{root}", "{work}") for word in grader.argv) + grader.arguments,
        mounts=(Mount(MountName.WORK, program, writable=False), Mount(MountName.STATE, state, writable=False)),
        files={"answer.json": canonical(answer)},
        workdir="{in}",
        limits=Limits(seconds=60.0, memory_bytes=memory_bytes),
    )


def bring_along(grader: Grader, root: Path, into: Path) -> None:
    """What the words of `grader` name below `root`, copied to the same places below the new folder `into`.
    Raises: GraderBroken for what is not there, lies elsewhere, or is too large to be a program."""
    into.mkdir(parents=True)
    root = root.resolve()
    for found in dict.fromkeys(_named(grader, root)):
        place = into / found.relative_to(root)
        if place.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            _bounded(grader, found)
            copy_tree(found, place)
        else:
            place.write_bytes(found.read_bytes())
            place.chmod(found.stat().st_mode & 0o777)


def _named(grader: Grader, root: Path) -> Iterator[Path]:
    """Outer folders first, so that an inner one is there already when its turn comes."""
    found = []
    for match in (match for word in grader.argv for match in ROOT.finditer(word)):
        path = (root / (match[1] or ".")).resolve()
        if not path.is_relative_to(root) or path == root:
            raise GraderBroken(f"grader {grader.name}: {match[0]} is no file or folder below that of moss.toml")
        if not path.exists():
            raise GraderBroken(f"grader {grader.name}: {path} is not there")
        found.append(path if path.is_dir() or path.parent == root else path.parent)
    yield from sorted(found, key=lambda path: len(path.parts))


def _bounded(grader: Grader, folder: Path) -> None:
    count = size = 0
    for where, _, names in os.walk(folder):
        count += len(names)
        size += sum(os.lstat(os.path.join(where, name)).st_size for name in names)
        if count > FILES or size > BYTES:
            raise GraderBroken(
                f"grader {grader.name}: {folder} holds more than {FILES} files or {BYTES >> 20} MB: give its program "
                "a folder of its own"
            )
