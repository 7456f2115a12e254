"""Owns the second process that sieves the end of a large log while this one sieves and reads its beginning.

It searches only: it says which lines deserve a look and how many there are, this process reads them. Never leaves
anything behind. Invariant: when it fails, in whatever way, this process goes on where its last good word ended.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

from moss.adapters.evidence.blocks import LONGEST, line_after
from moss.adapters.evidence.sieve import Line, Passed, Sieve, Spread

LARGE = 128 << 20
"""Bytes of news from which on a second process is worth its start."""
NEAR = 0.45
"""Of them, this process takes: it has the lines to read, too."""


def blocks(sieve: Sieve, file: int, at: int, spread: Spread, large: int = LARGE) -> Iterator[Passed]:
    """As `Sieve.blocks`, shared with a second process from `large` bytes of news on."""
    size, start = os.fstat(file).st_size, None
    if size - at >= large and (os.cpu_count() or 1) > 1:
        start = line_after(file, at + int((size - at) * NEAR))
    if start is None:
        yield from sieve.blocks(file, at, spread)
        return
    with tempfile.TemporaryFile() as told:
        far = Spread(spread.stride, spread.base + start - at, spread.base + start - at)
        process = _begun(sieve.signals, file, (start, size), far, told)
        try:
            for passed in sieve.blocks(file, at, spread, until=start):
                yield passed
                at = passed.end
            process.wait()
        finally:
            process.kill()
            process.wait()
        told.seek(0)
        for passed in _words(file, told) if at == start else ():
            spread.base += passed.end - at
            spread.next = max(spread.next, spread.base)
            yield passed
            at = passed.end
    yield from sieve.blocks(file, at, spread)


def _begun(
    signals: Sequence[bytes], file: int, part: tuple[int, int], spread: Spread, told: IO[bytes]
) -> subprocess.Popen[bytes]:
    asked = {"signals": [signal.hex() for signal in signals], "part": part, "spread": [spread.stride, spread.next]}
    argv = [sys.executable, "-I", "-m", __name__, str(file), json.dumps(asked)]
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=told, stderr=subprocess.DEVNULL, pass_fds=[file], env={}
    )


def _words(file: int, told: IO[bytes]) -> Iterator[Passed]:
    """What the second process said, up to where it ended."""
    for row in told:
        try:
            end, turns, sessions, places = json.loads(row)
        except ValueError:
            return
        yield Passed([_line(file, *place) for place in places], end, turns, sessions)


def _line(file: int, at: int, size: int, wanted: bool) -> Line:
    raw = os.pread(file, size, at)[:-1] if size <= LONGEST + 1 else b""
    return Line(at, raw, size, wanted)


def main(words: Sequence[str]) -> None:
    """The second process: a line of JSON for each block."""
    file, asked = int(words[0]), json.loads(words[1])
    (start, end), (stride, first) = asked["part"], asked["spread"]
    sieve = Sieve([bytes.fromhex(signal) for signal in asked["signals"]])
    for passed in sieve.blocks(file, start, Spread(stride, first, first), until=end):
        places = [(line.at, line.size, line.wanted) for line in passed.lines]
        sys.stdout.write(json.dumps((passed.end, passed.turns, passed.sessions, places)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
