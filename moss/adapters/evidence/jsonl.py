"""Owns the evidence source `jsonl`: the neutral format (docs/evidence.md) below a state folder. Never writes there.

Everything in these files was written by the agent under evolution: no symlink is followed, no text believed, nothing
unredacted leaves. Invariants: an unreadable file raises, an unreadable line is `Rejected` and read again at each
scan, and no failure is passed over because of either; memory does not grow with the files.
"""

import errno
import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path, PurePosixPath

import orjson

from moss.adapters.evidence.blocks import LONGEST
from moss.adapters.evidence.far import blocks
from moss.adapters.evidence.line import BadLine, read_line
from moss.adapters.evidence.mark import TAIL, Bad, Mark, tail_hash
from moss.adapters.evidence.past import earlier_lines
from moss.adapters.evidence.sieve import Line, Passed, Sieve, Spread
from moss.config import JsonlEvidence
from moss.domain.evidence import Turn
from moss.domain.frozen import sha256
from moss.domain.ids import Digest
from moss.domain.redact import Redactor
from moss.errors import UserError
from moss.files import open_beneath
from moss.ports import Cursor, Probed, Rejected, Scan

PIECE = 32
"""Turns of one piece of a scan."""
PIECE_BYTES = 64 << 20
GUARDS = 256
"""Candidate guards of one scan, spread over it."""
SMALL = 4 << 20
"""Bytes of news up to which each line is read, signal or not."""
MOST_BAD = 1000
REMEMBERED = 4096
"""Places of turns that were just given out, for `history`."""
SMALL_FOLDER = 64 << 20
FIRST = re.compile(rb'"ordinal": ?1,')
NOT_PLAIN = (errno.ELOOP, errno.ENOTDIR, errno.EINVAL)
RIGHTS = "give MOSS the right to read the agent's state"
NO_STATE = "moss adopt starts the agent, which makes it; or set `live.state` in moss.toml"


class JsonlSource:
    """`moss.ports.EvidenceSource` over files of one turn a line."""

    def __init__(self, settings: JsonlEvidence, redactor: Redactor) -> None:
        """Raises: UserError for a glob that leaves the state folder."""
        if PurePosixPath(settings.glob).is_absolute() or ".." in PurePosixPath(settings.glob).parts:
            raise UserError(
                "it leaves the state folder", where="moss.toml evidence.source.glob", mend="name files below the state"
            )
        self._glob, self._redactor = settings.glob, redactor
        self._places: OrderedDict[tuple[str, int], tuple[str, int, str]] = OrderedDict()

    # ------------------------------------------------------------------ the port

    def scan(self, root: Path, cursors: Mapping[str, Cursor], signals: Sequence[bytes]) -> Iterator[Scan]:
        """Raises: UserError, after all that could be read was given, when a file could not."""
        sieve, broken = Sieve(signals), list[str]()
        paths = self._paths(root)
        marks = {path: Mark.read(cursors.get(path)) for path in paths}
        news = sum(max(0, _size(root, path) - mark.at) for path, mark in marks.items())
        spread = Spread(max(1, news // GUARDS))
        moved = {mark.inode: mark for cursor in cursors.values() if (mark := Mark.read(cursor)).inode}
        for path, mark in marks.items():
            try:
                yield from self._file(root, path, mark, moved, sieve, spread, news <= SMALL)
            except FileNotFoundError:
                continue  # rotated away since it was listed
            except OSError as error:
                if error.errno in NOT_PLAIN:
                    yield _refused(path)
                else:
                    broken.append(f"{path} ({os.strerror(error.errno or 0)})")
        if broken:
            raise UserError(
                f"cannot read {', '.join(broken[:3])}{' and more' if len(broken) > 3 else ''}; all else was scanned",
                where=str(root),
                mend=f"{RIGHTS}, then scan again",
            )

    def history(self, root: Path, session: str, before: int, limit: int) -> Sequence[Turn]:
        known = self._places.get((session, before))
        if known:
            return self._before(root, *known, before, limit)
        for path, raw_session in self._likely(root, session):
            if found := self._before(root, path, None, raw_session, before, limit):
                return found
        return []

    def turns(self, root: Path, session: str | None = None) -> Sequence[Turn]:
        """All turns of at most 64 MiB of files; what is no turn is left out. Raises: UserError."""
        sieve, left, found = Sieve((b"",)), SMALL_FOLDER, list[Turn]()
        for path in self._paths(root):
            file = self._open_plain(root, path)
            if file is None:
                continue
            with file:
                end = 0
                for passed in sieve.blocks(file.fileno(), 0, Spread(1), every=True):
                    found += [turn for line in passed.lines if (turn := self._turn_of(line.raw))]
                    if (end := passed.end) > left:
                        break
                left -= end
        return sorted(
            (turn for turn in found if session in (None, turn.session)), key=lambda turn: (turn.session, turn.ordinal)
        )

    def check(self, root: Path) -> Probed:
        try:
            paths = self._paths(root)
            size = sum(_size(root, path) for path in paths)
            bad = next((because for path in paths[-20:] if (because := self._first_bad(root, path))), None)
        except (UserError, OSError) as error:
            return Probed("evidence", False, str(error), getattr(error, "mend", None) or RIGHTS)
        if bad:
            return Probed("evidence", False, bad, "docs/evidence.md says what a line must be")
        return Probed("evidence", True, f"jsonl v1, {len(paths)} files, {size / 1e6:,.1f} MB")

    # ------------------------------------------------------------------ files

    def _paths(self, root: Path) -> list[str]:
        """Files of the glob, relative, in order. Symlinks are left to `_open`, which refuses them."""
        if not root.is_dir():
            raise UserError("there is no such state folder", where=str(root), mend=NO_STATE)
        try:
            os.scandir(root).close()
            found = root.glob(self._glob)
            return sorted(path.relative_to(root).as_posix() for path in found if path.is_symlink() or path.is_file())
        except OSError as error:
            raise UserError(
                f"cannot be read ({os.strerror(error.errno or 0)})", where=str(root), mend=RIGHTS
            ) from error

    def _open(self, root: Path, path: str) -> FileIO:
        return FileIO(open_beneath(root, path), "rb")

    def _open_plain(self, root: Path, path: str) -> FileIO | None:
        """None for a file that is gone or no plain file. Raises: UserError when it cannot be read."""
        try:
            return self._open(root, path)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in NOT_PLAIN:
                return None
            raise UserError(
                f"cannot be read ({os.strerror(error.errno or 0)})", where=f"{root}/{path}", mend=RIGHTS
            ) from error

    def _before(self, root: Path, path: str, at: int | None, raw_session: str, before: int, limit: int) -> list[Turn]:
        """Turns of one session in one file, going back from byte `at`."""
        found: dict[int, Turn] = {}
        file = self._open_plain(root, path) if limit > 0 else None
        if file is None:
            return []
        with file:
            for raw in earlier_lines(file, orjson.dumps(raw_session), at):
                turn = self._turn_of(raw, raw_session)
                if turn is None or turn.ordinal >= before:
                    continue
                found.setdefault(turn.ordinal, turn)
                if turn.ordinal == 1 or len(found) >= limit:
                    break
        return [found[ordinal] for ordinal in sorted(found)]

    def _likely(self, root: Path, session: str) -> Iterator[tuple[str, str]]:
        """Files in which a session may be, and its name there: files of its name first, redacted or not."""
        paths = {path: PurePosixPath(path).stem for path in self._paths(root)}
        named = [path for path, stem in paths.items() if stem == session]
        yield from ((path, session) for path in named)
        if not named:
            yield from ((path, stem) for path, stem in paths.items() if stem != self._redactor.clean(stem) == session)
        yield from ((path, session) for path in paths if path not in named)

    def _first_bad(self, root: Path, path: str) -> str | None:
        with self._open(root, path) as file:
            for passed in Sieve(()).blocks(file.fileno(), 0, Spread(1), every=True):
                for line in passed.lines[:5]:
                    if isinstance(told := self._read(path, line), Rejected):
                        return f"{told.where}: {told.because}"
                return None
        return None

    # ------------------------------------------------------------------ one file

    def _file(
        self, root: Path, path: str, mark: Mark, moved: Mapping[str, Mark], sieve: Sieve, spread: Spread, every: bool
    ) -> Iterator[Scan]:
        with self._open(root, path) as file:
            mark = _standing(file, mark, moved)
            piece = _Piece(path, mark)
            self._again(file, piece)
            if len(piece.bad) >= MOST_BAD:
                piece.stop()
                yield piece.scan(file)
                return
            spread.base -= mark.at
            number = file.fileno()
            passes = sieve.blocks(number, mark.at, spread, True) if every else blocks(sieve, number, mark.at, spread)
            for passed in passes:
                if not self._take(piece, passed):
                    break
                if len(piece.turns) >= PIECE or piece.end - piece.start >= PIECE_BYTES:
                    yield piece.scan(file)
                    piece = piece.next()
            if piece.worth:
                yield piece.scan(file)

    def _take(self, piece: "_Piece", passed: Passed) -> bool:
        """Whether to go on: a file with too many bad lines is not in the format, its rest waits."""
        counted = passed.turns is not None
        piece.counted += passed.turns or 0
        piece.sessions += passed.sessions
        for line in passed.lines:
            told = self._read(piece.path, line)
            if isinstance(told, Rejected):
                piece.reject(told, line, counted)
                if len(piece.bad) >= MOST_BAD and not counted:
                    piece.end = line.at + line.size
                    piece.stop()
                    return False
                continue
            if not counted:
                piece.count(told)
            if line.wanted:
                piece.turns.append(self._given(piece.path, line, told))
        piece.end = passed.end
        if len(piece.bad) >= MOST_BAD:
            piece.stop()
        return len(piece.bad) < MOST_BAD

    def _again(self, file: FileIO, piece: "_Piece") -> None:
        """Reads the bad lines of before once more."""
        for bad in piece.mark.bad:
            raw = os.pread(file.fileno(), min(bad.size, LONGEST + 1), bad.at)
            line = Line(bad.at, raw.removesuffix(b"\n"), bad.size)
            told = self._read(piece.path, line)
            if isinstance(told, Rejected):
                piece.reject(told, line)
            else:
                piece.count(told)
                piece.turns.append(self._given(piece.path, line, told))

    def _read(self, path: str, line: Line) -> Turn | Rejected:
        where = f"{path} byte {line.at}"
        if line.size > LONGEST + 1:
            because = f"a line of {line.size:,} bytes, at most {LONGEST:,} are read"
            return Rejected(path, where, because, Digest(sha256(f"{where}: {because}".encode())))
        try:
            return read_line(line.raw)
        except BadLine as error:
            return Rejected(path, where, self._redactor.clean(str(error)), Digest(sha256(line.raw)))

    def _given(self, path: str, line: Line, turn: Turn) -> Turn:
        """The turn without secrets; where it stood is remembered for `history`."""
        fresh = self._clean(turn, line.raw)
        self._places[(fresh.session, fresh.ordinal)] = (path, line.at, turn.session)
        if len(self._places) > REMEMBERED:
            self._places.popitem(last=False)
        return fresh

    def _turn_of(self, raw: bytes, session: str | None = None) -> Turn | None:
        try:
            turn = read_line(raw)
        except BadLine:
            return None
        return self._clean(turn, raw) if session in (None, turn.session) else None

    def _clean(self, turn: Turn, raw: bytes) -> Turn:
        """The turn of a line, without secrets."""
        return self._redactor.turn(turn) if self._redactor.suspects(raw, json=True) else turn


class _Piece:
    """What was read of one file since the last piece."""

    def __init__(self, path: str, mark: Mark) -> None:
        self.path, self.mark = path, mark
        self.start = self.end = mark.at
        self.turns: list[Turn] = []
        self.rejected: list[Rejected] = []
        self.bad: list[Bad] = []
        self.counted = self.sessions = 0

    def next(self) -> "_Piece":
        """The piece after this one."""
        fresh = _Piece(self.path, self.mark)
        fresh.bad = self.bad
        return fresh

    @property
    def worth(self) -> bool:
        return bool(self.end > self.start or self.turns or self.rejected or tuple(self.bad) != self.mark.bad)

    def count(self, turn: Turn) -> None:
        self.counted += 1
        self.sessions += turn.ordinal == 1

    def reject(self, told: Rejected, line: Line, counted: bool = False) -> None:
        """`counted`: the line was taken for a turn when its block was counted."""
        self.rejected.append(told)
        self.bad.append(Bad(at=line.at, size=line.size))
        if counted:
            self.counted -= 1
            self.sessions -= bool(FIRST.search(line.raw))

    def stop(self) -> None:
        because = f"{MOST_BAD:,} of its lines are not in the format; what is after byte {self.end:,} waits"
        self.rejected.append(Rejected(self.path, self.path, because, Digest(sha256(self.path.encode()))))

    def scan(self, file: FileIO) -> Scan:
        """The piece, and the mark behind it."""
        info = os.fstat(file.fileno())
        before = os.pread(file.fileno(), min(TAIL, self.end), max(0, self.end - TAIL))
        self.mark = Mark(
            inode=f"{info.st_dev}:{info.st_ino}",
            at=self.end,
            tail=tail_hash(before),
            bad=tuple(self.bad),
        )
        cursors = (self.mark.cursor(self.path),)
        return Scan(tuple(self.turns), cursors, tuple(self.rejected), self.counted, self.sessions)


def _standing(file: FileIO, mark: Mark, moved: Mapping[str, Mark]) -> Mark:
    """The mark while the bytes before it are still what was read; else that of the file's old name; else none."""
    info = os.fstat(file.fileno())
    for one in (mark, moved.get(f"{info.st_dev}:{info.st_ino}")):
        if one is not None and one.at and info.st_size >= one.at:
            before = os.pread(file.fileno(), min(TAIL, one.at), max(0, one.at - TAIL))
            if tail_hash(before) == one.tail:
                return one
    return Mark()


def _refused(path: str) -> Scan:
    because = "a symlink or no plain file: it is not read"
    return Scan((), (), (Rejected(path, path, because, Digest(sha256(path.encode()))),), 0, 0)


def _size(root: Path, path: str) -> int:
    try:
        return (root / path).lstat().st_size
    except OSError:
        return 0
