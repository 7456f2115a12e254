"""Owns reading the store's artifacts: recordings and scripts, by their hash. Never writes one.

Invariant: bytes that do not have the hash they were asked by are never used.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from moss.domain.evidence import Exchange
from moss.domain.frozen import sha256
from moss.domain.ids import Digest
from moss.errors import UserError
from moss.gateway import recording
from moss.gateway.script import Script, read_script
from moss.gateway.wire import Denied

KEPT = 16

Parsed = TypeVar("Parsed")


class Artifacts:
    """`root/ab/<hex>`; the last few are kept parsed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._recordings: dict[Digest, Mapping[int, Exchange]] = {}
        self._scripts: dict[Digest, Script] = {}

    def recording(self, digest: Digest) -> Mapping[int, Exchange]:
        """Exchanges by ordinal. Raises: Denied (a fault of the world)."""
        if digest not in self._recordings:
            exchanges = _parsed(digest, self._bytes(digest), recording.load)
            _room(self._recordings)
            self._recordings[digest] = MappingProxyType({each.ordinal: each for each in exchanges})
        return self._recordings[digest]

    def script(self, digest: Digest) -> Script:
        """Raises: Denied (a fault of the world)."""
        if digest not in self._scripts:
            script = _parsed(digest, self._bytes(digest), read_script)
            _room(self._scripts)
            self._scripts[digest] = script
        return self._scripts[digest]

    def _bytes(self, digest: Digest) -> bytes:
        name = digest.removeprefix("sha256:")
        if len(name) != 64 or not all(letter in "0123456789abcdef" for letter in name):
            raise _broken(digest, "is not a digest")
        try:
            data = (self._root / name[:2] / name).read_bytes()
        except OSError:
            raise _broken(digest, "is not there") from None
        if sha256(data) != digest:
            raise _broken(digest, "does not have the bytes of its hash")
        return data


def _broken(digest: str, because: str) -> Denied:
    sentence = f"artifact {digest[:19]} {because}"
    return Denied(502, sentence, code="artifact", kind="server_error", fault=True)


def _parsed(digest: Digest, data: bytes, parse: Callable[[bytes], Parsed]) -> Parsed:
    try:
        return parse(data)
    except UserError as error:
        raise _broken(digest, f"is not what it should be: {error}") from None


def _room(kept: dict[Digest, Parsed]) -> None:
    while len(kept) >= KEPT:
        kept.pop(next(iter(kept)))
