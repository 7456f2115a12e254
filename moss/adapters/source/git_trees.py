"""Owns the way between git trees and plain folders: entries, export, and the tree of a folder that an agent worked in.

Never follows a symlink, never enters a `.git`, never lets an attribute change a byte. Invariant: a folder that was
exported and not touched has the tree that it was exported from.
"""

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from moss.adapters.source.git_program import Git
from moss.errors import Refused, UserError

CHUNK = 1 << 20
SMALL, KEPT = 16 << 10, 512
"""Bytes of a blob up to which it is kept in memory, and how many are kept."""
LINK, PROGRAM, FILE, MODULE = "120000", "100755", "100644", "160000"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a git tree, folders excepted. `path` is raw bytes, relative, `/`-separated."""

    mode: str
    oid: str
    path: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """One file or symlink of a folder."""

    path: bytes
    mode: str
    size: int


def entries(git: Git, tree: str) -> Sequence[Entry]:
    """All files, links and submodules of a tree."""
    found = []
    for line in git("ls-tree", "-r", "-z", "--full-tree", tree).split(b"\0")[:-1]:
        head, path = line.split(b"\t", 1)
        mode, _kind, oid = head.decode().split(" ")
        found.append(Entry(mode, oid, path))
    return found


def export(blobs: "Blobs", tree: Sequence[Entry], into: Path) -> None:
    """Writes a tree as plain files into the new folder `into`. Raises: UserError for names no tree may have."""
    base, links = os.fsencode(into), []
    os.makedirs(base, mode=0o700)
    made = {base}
    with blobs:
        for entry in tree:
            if any(unholdable(part) for part in entry.path.split(b"/")):
                raise UserError(f"the commit holds the path {entry.path!r}, which no file may have")
            target = os.path.join(base, entry.path)
            folder = target if entry.mode == MODULE else os.path.dirname(target)
            if folder not in made:
                os.makedirs(folder, exist_ok=True)
                made.add(folder)
            match entry.mode:
                case "160000":
                    continue
                case "120000":
                    links.append((b"".join(blobs.read(entry.oid)), target))
                case _:
                    _write(target, 0o755 if entry.mode == PROGRAM else 0o644, blobs.read(entry.oid))
    # links come last: until here no part of any path can be one
    for to, target in links:
        os.symlink(to, target)


def _write(target: bytes, mode: int, pieces: Iterator[bytes]) -> None:
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as out:
        os.fchmod(out.fileno(), mode)
        for piece in pieces:
            out.write(piece)


class Blobs:
    """Contents of blobs, from one git process, which starts when one is asked for that is not kept. Small ones are
    kept: stage after stage lays the same tree out."""

    def __init__(self, git: Git, kept: dict[str, bytes]) -> None:
        self._git, self._kept = git, kept
        self._cat: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Blobs":
        return self

    def __exit__(self, *_: object) -> None:
        if self._cat is not None:
            self._cat.kill()
            self._cat.communicate()

    def read(self, oid: str) -> Iterator[bytes]:
        """In pieces; all of them must be taken."""
        if (kept := self._kept.get(oid)) is not None:
            yield kept
            return
        size, cat = self._asked(oid)
        if size <= SMALL:
            piece = self._taken(cat, oid, size)
            if len(self._kept) >= KEPT:
                self._kept.clear()
            self._kept[oid] = piece
            yield piece
        else:
            for at in range(0, size, CHUNK):
                yield self._taken(cat, oid, min(CHUNK, size - at))
        cat.read(1)

    def _asked(self, oid: str) -> tuple[int, IO[bytes]]:
        """The blob's size, and where its content comes next."""
        if self._cat is None:
            argv, env = self._git.argv(["cat-file", "--batch"]), self._git.environment()
            self._cat = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._cat.stdin
        assert self._cat.stdout
        self._cat.stdin.write(oid.encode() + b"\n")
        self._cat.stdin.flush()
        words = self._cat.stdout.readline().split()
        if len(words) != 3:
            raise UserError(f"the object {oid} is missing", where=str(self._git.repository))
        return int(words[2]), self._cat.stdout

    def _taken(self, cat: IO[bytes], oid: str, size: int) -> bytes:
        piece = cat.read(size)
        if len(piece) < size:
            raise UserError(f"the object {oid} cannot be read", where=str(self._git.repository))
        return piece


def unholdable(name: bytes) -> bool:
    """Names that git keeps for itself on some file system, as its own `verify_path` sees it."""
    plain = name.lower().replace("\u200c".encode(), b"").split(b":")[0].split(b"\\")[0].rstrip(b" .")
    return name in (b"", b".", b"..") or plain == b".git" or plain.startswith(b"git~")


def walk(root: Path, closed: frozenset[bytes]) -> Iterator[Found]:
    """Files and symlinks below `root`. Folders in `closed` (submodules), `.git`s and special files are left out."""
    base, todo = os.fsencode(root), [b""]
    while todo:
        below = todo.pop()
        with os.scandir(os.path.join(base, below)) as names:
            for entry in names:
                path = os.path.join(below, entry.name)
                if unholdable(entry.name) or path in closed:
                    continue
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    todo.append(path)
                elif stat.S_ISLNK(info.st_mode):
                    yield Found(path, LINK, info.st_size)
                elif stat.S_ISREG(info.st_mode):
                    yield Found(path, PROGRAM if info.st_mode & 0o100 else FILE, info.st_size)


def pieces(root: Path, found: Found) -> Iterator[bytes]:
    """The content of what `walk` found, exactly `size` bytes. Raises: Refused when it changes while it is read."""
    path = os.path.join(os.fsencode(root), found.path)
    if found.mode == LINK:
        yield os.readlink(path)
        return
    left = found.size
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        while left:
            piece = file.read(min(left, CHUNK))
            if not piece:
                raise Refused(f"{found.path!r} changed while it was read: something still works in the tree")
            left -= len(piece)
            yield piece


def oid_of(root: Path, found: Found) -> str:
    """The object name that git gives to the content."""
    content = hashlib.sha1(b"blob %d\0" % found.size, usedforsecurity=False)
    for piece in pieces(root, found):
        content.update(piece)
    return content.hexdigest()


def store_blobs(git: Git, root: Path, files: Sequence[Found], marks: Path) -> Mapping[bytes, str]:
    """Writes contents into the repository, byte for byte; path -> object name. One git process for all of them."""
    if not files:
        return {}
    argv = git.argv(["fast-import", "--quiet", "--done", f"--export-marks={marks}"])
    with subprocess.Popen(
        argv, env=git.environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as importer:
        assert importer.stdin
        for number, found in enumerate(files, 1):
            importer.stdin.write(b"blob\nmark :%d\ndata %d\n" % (number, found.size))
            for piece in pieces(root, found):
                importer.stdin.write(piece)
            importer.stdin.write(b"\n")
        importer.stdin.write(b"done\n")
        importer.stdin.close()
    if importer.returncode:
        raise UserError("git fast-import failed", where=str(git.repository))
    names = dict(line.split(" ") for line in marks.read_text().splitlines())
    return {found.path: names[f":{number}"] for number, found in enumerate(files, 1)}


def write_tree(git: Git, index: Path, wanted: Sequence[Entry]) -> str:
    """The tree that holds exactly these entries. Raises: Refused for a path that git does not take."""
    own = git.within(GIT_INDEX_FILE=str(index))
    lines = b"".join(
        f"{entry.mode} {'commit' if entry.mode == MODULE else 'blob'} {entry.oid}\t".encode() + entry.path + b"\0"
        for entry in wanted
    )
    ran = own.ask("update-index", "-z", "--index-info", stdin=lines)
    if ran.code:
        raise Refused(f"the work tree cannot be kept in git: {ran.err[-300:]}")
    return own.word("write-tree")
