"""Owns the substrate's source, in a bare mirror under `home/git` that is fetched from the user's repository.

Never touches the user's work tree, index or current branch, and runs nothing that a repository asks for. The source may
be a folder inside of a larger repository: then commits hold all of that, and exports, paths and patches are of the
folder alone. Invariant: the same patch on the same base with the same message is the same commit.
"""

import contextlib
import fcntl
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from moss.adapters.source.git_ignored import ignored
from moss.adapters.source.git_program import SECONDS, Git
from moss.adapters.source.git_trees import (
    MODULE,
    Blobs,
    Entry,
    Found,
    entries,
    export,
    oid_of,
    store_blobs,
    walk,
    write_tree,
)
from moss.domain.diffs import added_lines, changes, parted
from moss.domain.ids import CommitId, Key
from moss.domain.patch import FileChange, Patch
from moss.errors import Refused, UserError
from moss.files import remove_tree, write_durably

ATTRIBUTES = (
    b"* -text !eol -ident -filter !working-tree-encoding -export-ignore -export-subst !diff !merge -whitespace\n"
)
"""In the mirror's `info/attributes`, where they win over what the source's own `.gitattributes` say."""
CONFIG = b"[safe]\n\tdirectory = *\n[core]\n\thooksPath = /dev/null\n\tfsmonitor = false\n"
"""For the serving side of a fetch, which does not get our command line."""
DIFF = ("diff-tree", "-r", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color")
TEXT = (*DIFF, "-p", "--full-index", "--src-prefix=a/", "--dst-prefix=b/")
LARGE_FILE, LARGE_CHANGE = 2 << 20, 16 << 20
"""A file above the first is compared as binary and stays out of the text; a change above the second has no text (the
policy and `commit` refuse it)."""
FEW_ENTRIES = 10_000
"""Files of a tree up to which what is in it is kept in memory."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]{0,199}")
EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""The tree without entries, which git knows without having it."""
WHO = {"NAME": "MOSS", "EMAIL": "moss@localhost"}


@dataclass(frozen=True, slots=True)
class _Origin:
    """The user's repository, and where in it the source is (`sub/folder/` or empty)."""

    git_dir: Path
    prefix: str


class GitSource:
    """The source `source` of the substrate `name`, mirrored in `home/git/<name>.git`."""

    def __init__(self, home: Path, source: Path, name: str) -> None:
        self._home, self._source = home.resolve() / "git", source.resolve()
        self._mirror = self._home / f"{name}.git"
        self._git = Git(self._mirror, self._home / "gitconfig")
        self._origin: _Origin | None = None
        self._trees: dict[CommitId, str] = {}
        """of commits that were asked for: neither is ever dropped or changed, and each look is a process of git"""
        self._dated: dict[CommitId, str] = {}
        self._last: tuple[str, Sequence[Entry]] | None = None
        """the tree that was asked for last, and what is in it, where that is little"""
        self._kept: dict[str, bytes] = {}
        """contents of small files that were laid out"""

    def resolve(self, ref: str) -> CommitId:
        self._refresh()
        if NAME.fullmatch(ref) and ".." not in ref and "@{" not in ref:
            names = [f"refs/user/{kind}{ref}" for kind in ("", "heads/", "tags/", "remotes/")]
            if re.fullmatch(r"[0-9a-f]{4,40}", ref):
                names.append(ref)
            for full in names:
                found = self._git.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{full}^{{commit}}")
                if found.code == 0:
                    return CommitId(found.out.decode().strip())
        raise UserError(
            f"there is no commit {ref!r}", where=str(self._source), mend="name a branch, a tag or a commit's hash"
        )

    def export(self, commit: CommitId, into: Path) -> None:
        tree = self._tree(commit)
        into.parent.mkdir(parents=True, exist_ok=True)
        fresh = into.with_name(f".{into.name}.new")
        remove_tree(fresh)
        try:
            export(Blobs(self._git, self._kept), self._entries(tree), fresh)
            remove_tree(into)
            fresh.rename(into)
        finally:
            remove_tree(fresh)

    def diff(self, base: CommitId, tree: Path) -> Patch:
        before = self._tree(base)
        known = {entry.path: entry for entry in self._entries(before)}
        modules = [entry for entry in known.values() if entry.mode == MODULE]
        found = list(walk(tree, frozenset(entry.path for entry in modules)))
        with self._scratch() as scratch:
            out = ignored(self._git, self._prefix, base, tree, found, frozenset(known), scratch)
            kept = [item for item in found if item.path not in out]
            wanted = modules + self._stored(tree, kept, known, scratch)
            after = write_tree(self._git, scratch / "index", wanted)
        return self._patch(base, before, after)

    def commit(self, patch: Patch, message: str, key: Key) -> CommitId:
        ref = _ref(key)
        done = self._git.ask("rev-parse", "--verify", "--quiet", "--end-of-options", ref)
        if done.code == 0:
            return CommitId(done.out.decode().strip())
        base = self._known(patch.base)
        with self._scratch() as scratch:
            own = self._git.within(GIT_INDEX_FILE=str(scratch / "index"))
            own("read-tree", base)
            directory = [f"--directory={self._prefix}"] if self._prefix else []
            words = ("apply", "--cached", "--binary", "--whitespace=nowarn", *directory, "-")
            applied = own.ask(*words, stdin=patch.text)
            if applied.code:
                raise Refused(f"the patch does not apply to {base[:12]}: {applied.err[-500:]}")
            tree = own.word("write-tree")
        # a cut or doctored text may apply, too: what was looked at is what is kept
        own_tree = (self._folder(tree) if self._prefix else tree) or EMPTY
        if changes(*self._raw(self._tree(base), own_tree)) != patch.files:
            raise Refused(f"the patch does not do to {base[:12]} what its list of files says")
        if not patch.files:
            raise Refused(f"the patch changes nothing in {base[:12]}")
        made = self._commit_tree(tree, base, message)
        self._git("update-ref", ref, made)
        if own_tree != EMPTY:
            self._trees[made] = own_tree
        return made

    def changed_lines(self, base: CommitId, candidate: CommitId) -> Mapping[str, Sequence[int]]:
        before, after = self._tree(base), self._tree(candidate)
        found: dict[str, list[int]] = {}
        for line in added_lines(self._git(*TEXT, "-U0", before, after)):
            found.setdefault(line.path, []).append(line.number)
        return found

    def patch_between(self, base: CommitId, candidate: CommitId) -> Patch:
        return self._patch(base, self._tree(base), self._tree(candidate))

    def publish(self, branch: str, commit: CommitId) -> None:
        ref = f"refs/heads/{branch}"
        if not NAME.fullmatch(branch) or self._git.ask("check-ref-format", ref).code:
            raise UserError(f"{branch!r} is no name for a branch")
        commit = self._known(commit)
        user = replace(self._git, repository=self._where().git_dir)
        with self._locked():
            worktrees = user("worktree", "list", "--porcelain", "-z").split(b"\0")
            if f"branch {ref}".encode() in worktrees or user.ask("symbolic-ref", "HEAD").out.strip() == ref.encode():
                raise Refused(
                    f"the branch {branch} is checked out in {self._source}",
                    mend="check out another branch, or let MOSS publish to another one",
                )
            self._git("update-ref", ref, commit)
            words = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
            user(*words, "--", str(self._mirror), f"+{ref}:{ref}")

    # what the port's methods are made of

    @property
    def _prefix(self) -> str:
        return self._where().prefix

    def _where(self) -> _Origin:
        """Raises: UserError when the source is no git repository."""
        if self._origin is None:
            if not self._source.is_dir():
                raise UserError("there is no such folder", where=str(self._source), mend="set substrate.source")
            self._init()
            asking = replace(self._git, repository=None, cwd=self._source)
            found = asking.ask("rev-parse", "--absolute-git-dir", "--show-prefix")
            if found.code:
                raise UserError(
                    "the source is not in a git repository", where=str(self._source), mend="git init, add, commit"
                )
            git_dir, _, prefix = found.out.decode(errors="surrogateescape").rstrip("\n").partition("\n")
            self._origin = _Origin(Path(git_dir), prefix)
        return self._origin

    def _init(self) -> None:
        """The mirror, made once."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            if not self._git.config.exists():
                write_durably(self._git.config, CONFIG)
            if not (self._mirror / "info" / "attributes").exists():
                self._git("init", "--quiet", "--bare", "--template=", str(self._mirror))
                (self._mirror / "info").mkdir(exist_ok=True)
                write_durably(self._mirror / "info" / "attributes", ATTRIBUTES)

    def _refresh(self) -> None:
        """Fetches what is new. Nothing that was fetched once is ever dropped: runs outlive the user's rebases."""
        origin = self._where()
        kinds = ("heads", "tags", "remotes")
        specs = ["+HEAD:refs/user/HEAD", *(f"+refs/{kind}/*:refs/user/{kind}/*" for kind in kinds)]
        words = ("fetch", "--quiet", "--prune", "--no-tags", "--update-shallow", "--no-write-fetch-head")
        with self._locked():
            ran = self._git.ask(*words, "--no-auto-maintenance", "--", str(origin.git_dir), *specs)
        if "couldn't find remote ref HEAD" in ran.err:
            raise UserError("the repository has no commit yet", where=str(self._source), mend="git add, git commit")
        if ran.code:
            raise UserError(f"the repository cannot be read: {ran.err[-300:]}", where=str(self._source))

    def _known(self, commit: CommitId) -> CommitId:
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise UserError(f"{commit!r} is not a full commit hash")
        if commit in self._trees:
            return commit
        for look in (self._where, self._refresh):
            look()
            if self._git.ask("cat-file", "-e", f"{commit}^{{commit}}").code == 0:
                return commit
        raise UserError(f"the commit {commit} is not in the repository", where=str(self._source))

    def _tree(self, commit: CommitId) -> str:
        """The source's tree in a commit."""
        if commit not in self._trees:
            found = self._folder(self._known(commit))
            if found is None:
                raise UserError(f"the commit {commit[:12]} has no folder {self._prefix}", where=str(self._source))
            self._trees[commit] = found
        return self._trees[commit]

    def _entries(self, tree: str) -> Sequence[Entry]:
        """What is in a tree: stage after stage lays the same one out."""
        if self._last is not None and self._last[0] == tree:
            return self._last[1]
        found = entries(self._git, tree)
        self._last = (tree, found) if len(found) <= FEW_ENTRIES else None
        return found

    def _folder(self, whole: str) -> str | None:
        """The source's tree in a commit or tree of the repository."""
        of = f"{whole}:{self._prefix.rstrip('/')}"
        found = self._git.ask("rev-parse", "--verify", "--quiet", "--end-of-options", of)
        return None if found.code else found.out.decode().strip()

    def _stored(self, tree: Path, kept: Sequence[Found], known: Mapping[bytes, Entry], scratch: Path) -> list[Entry]:
        """Entries of what stands in a folder; contents that the base does not have are stored."""
        same, fresh = [], []
        for item in kept:
            before = known.get(item.path)
            if before is not None and oid_of(tree, item) == before.oid:
                same.append(Entry(item.mode, before.oid, item.path))
            else:
                fresh.append(item)
        names = store_blobs(self._git, tree, fresh, scratch / "marks")
        return same + [Entry(item.mode, names[item.path], item.path) for item in fresh]

    def _patch(self, base: CommitId, before: str, after: str) -> Patch:
        files, sizes = self._changes(before, after)
        if sum(size for size in sizes if size <= LARGE_FILE) > LARGE_CHANGE:
            return Patch(base=base, text=b"", files=files)
        # git applies a large file's change by its name in the mirror, so its content need not be in the text
        binary = () if any(size > LARGE_FILE for size in sizes) else ("--binary",)
        return Patch(base=base, text=self._git(*TEXT, *binary, before, after), files=files)

    def _changes(self, before: str, after: str) -> tuple[tuple[FileChange, ...], list[int]]:
        """What differs between two trees, and the sizes of all contents that were or are there."""
        raw, numstat = self._raw(before, after)
        return changes(raw, numstat), self._sizes(raw)

    def _raw(self, before: str, after: str) -> tuple[bytes, bytes]:
        """What differs between two trees, as git's two lists of it."""
        return parted(self._git(*DIFF, "-z", "--raw", "--numstat", "--no-abbrev", before, after))

    def _sizes(self, raw: bytes) -> list[int]:
        """Bytes of each blob that a raw diff names."""
        heads = [line.split(b" ") for line in raw.split(b"\0") if line.startswith(b":")]
        names = [name for head in heads if len(head) == 5 for name in head[2:4]]
        out = self._git("cat-file", "--batch-check=%(objectsize)", stdin=b"\n".join(names))
        return [int(line) for line in out.split(b"\n") if line.isdigit()]

    def _commit_tree(self, tree: str, base: CommitId, message: str) -> CommitId:
        """Dated as its base: a commit's time would make it another one at each try."""
        date = self._dated.get(base) or self._git.word("log", "-1", "--format=%cI", "--end-of-options", base)
        self._dated[base] = date
        who = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in WHO.items()}
        own = self._git.within(GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date, **who)
        text = message.replace("\0", "").encode(errors="backslashreplace")
        return CommitId(own.word("commit-tree", tree, "-p", base, stdin=text))

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        scratch = self._home / "tmp"
        scratch.mkdir(mode=0o700, exist_ok=True)
        for left in scratch.iterdir():
            # of a controller that was killed: no command of git takes so long
            with contextlib.suppress(FileNotFoundError):
                if left.stat().st_mtime < time.time() - 2 * SECONDS:
                    remove_tree(left)
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One fetch or publication at a time, between controllers too."""
        with open(self._home / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _ref(key: Key) -> str:
    """The ref of a key. Its last part is fixed, so that one key may begin with all of another."""
    parts = (quote(part, safe="").replace(".", "%2E").replace("~", "%7E") or "%" for part in key.split("/"))
    return f"refs/moss/{'/'.join(parts)}/commit"
