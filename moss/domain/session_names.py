"""Owns how a conversation of MOSS's own is called: like the agent's real ones, so that no candidate can tell a trial
or a canary by its name. Never keeps a name.

Invariant: the same shape and seed give the same name; it is printable ASCII, at most 160 characters, and no path.
"""

import re
from collections.abc import Iterator
from hashlib import sha256
from itertools import count
from math import log2

UUID_LIKE = "7f3c9a1e-5b2d-4e8f-a6c0-d19b47e35f82"
"""the shape where no session of the agent is known"""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@+-]{0,119}")
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")
_DATE = re.compile(r"20[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[0-9]{6})?")
HEX = frozenset("0123456789abcdefABCDEF")
_UUID_KEPT = (14, 19)
"""where a UUID says its version and variant"""
_EPOCH_KEPT = 4
"""leading digits of a time in seconds or milliseconds that stay: the rest is drawn"""


def session_like(shape: str, seed: bytes, bits: int = 0) -> str:
    """A name in the shape of a real session's: words stay words, digits, hex and letters in codes are drawn anew.

    `bits`: how much of chance it must hold, so that it meets no real session; a name with less is made longer.
    """
    known = _PLAIN.fullmatch(shape) and ".." not in shape and "redacted" not in shape.casefold()
    like = shape if known else UUID_LIKE
    draw = _Draw(seed)
    if _UUID.fullmatch(like):
        letters = _hex(like)
        name = [letter if at in _UUID_KEPT else draw.like(letter, letters) for at, letter in enumerate(like)]
        return "".join(name)
    pieces = re.findall(r"[A-Za-z0-9]+|[^A-Za-z0-9]+", like)
    drawn = [_piece(piece, draw) for piece in pieces]
    if not draw.bits:
        # nothing but words: then they are drawn too, else it would be a session that there is
        drawn = ["".join(draw.like(letter) for letter in piece) for piece in pieces]
    while draw.bits < bits:
        drawn.append(draw.like("0"))
    return "".join(drawn)


def _piece(piece: str, draw: "_Draw") -> str:
    if not any(letter.isdigit() for letter in piece) or _DATE.fullmatch(piece):
        return piece
    if piece.isdigit():
        kept = _EPOCH_KEPT if len(piece) in (10, 13) and piece[0] == "1" else 0
        return piece[:kept] + "".join(draw.like(letter) for letter in piece[kept:])
    hexadecimal = len(piece) >= 6 and re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", piece) is not None
    return "".join(draw.like(letter, _hex(piece) if hexadecimal else "") for letter in piece)


def _hex(piece: str) -> str:
    return "0123456789ABCDEF" if any(letter.isupper() for letter in piece) else "0123456789abcdef"


class _Draw:
    """Letters drawn from a seed; `bits` counts the chance in them."""

    def __init__(self, seed: bytes) -> None:
        self.bits = 0.0
        self._bytes = _stream(seed)

    def like(self, letter: str, hexadecimal: str = "") -> str:
        """A letter of the same kind; of `hexadecimal`, where that is what it is one of."""
        letters = hexadecimal if hexadecimal and letter in HEX else _kind(letter)
        if len(letters) == 1:
            return letter
        self.bits += log2(len(letters))
        return letters[int.from_bytes([next(self._bytes) for _ in range(4)]) % len(letters)]


def _kind(letter: str) -> str:
    if letter.isdigit():
        # a first zero would show in a number that never begins with one
        return "123456789" if letter != "0" else "0123456789"
    if letter.isascii() and letter.isalpha():
        return "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter.isupper() else "abcdefghijklmnopqrstuvwxyz"
    return letter


def _stream(seed: bytes) -> Iterator[int]:
    for number in count():
        yield from sha256(seed + number.to_bytes(8)).digest()
