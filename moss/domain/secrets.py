"""Owns where secrets are in a text: keys, tokens, mail addresses, card numbers, random words. Never changes the text.

Invariants: linear time for any text (each pattern is bounded and starts where nothing of its kind stands before);
git commits, uuids, paths, order numbers and plain words are no secrets.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a placeholder must look like: a mail stays a mail, a card digits, all else its characters' classes."""

    TOKEN = "token"  # noqa: S105 - a kind, not a token
    MAIL = "mail"
    CARD = "card"


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` of a text are secret. `rest`: so is what a surer span leaves of it."""

    start: int
    end: int
    kind: Kind = Kind.TOKEN
    rest: bool = False


MARK = "REDACTED"
SHORT_MARK = "RDX"
"""How a placeholder starts (after a known prefix), the short one where there is little room."""
LONG_WORD = 16
"""Characters without a break from which a word may be a token."""
_PREFIX = (
    r"sk-ant-|sk-proj-|sk-or-v1-|sk-|sk_live_|sk_test_|rk_live_|pk_live_|whsec_|ghp_|gho_|ghu_|ghs_|ghr_|github_pat_|"
    r"glpat-|xox[abeoprs]-|xapp-|AKIA|ASIA|AIza|ya29\.|npm_|pypi-|hf_|SG\.|dop_v1_|shpat_|AGE-SECRET-KEY-|"
    r"sntrys_|lin_api_|figd_|gsk_|r8_|tvly-|pplx-|xai-|eyJ"
)
TOKEN = re.compile(rf"(?<![A-Za-z0-9])(?:{_PREFIX})([A-Za-z0-9_\-.=+]{{8,4096}})")
PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
PEM_BODY = re.compile(r"[A-Za-z0-9+/=\s\\:,-]{1,20000}")
SCHEME = re.compile(r"(?i)(?<![A-Za-z0-9])(?:bearer|basic)[ \t]{1,4}([A-Za-z0-9._~+/=-]{8,4096})")
URL = re.compile(r"(?<=://)[^\s:/@\"'\\]{0,100}:([^\s@/\"'\\]{3,256})@")
VALUE = re.compile(
    r"(?i)(password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|auth)"
    r"(?:[_-][a-z0-9_-]{0,20})?(\\{0,3}[\"'])?[ \t]{0,3}(=|:)>?[ \t]{0,3}(\\{0,3}[\"'])?"
    r"((?:bearer|basic)[ \t]{1,4})?([^\s\"'\\,;&<>{}()\[\]$*]{4,512})"
)
MAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])([A-Za-z0-9_%+-][A-Za-z0-9._%+-]{0,127})@"
    r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,6}\.[A-Za-z]{2,24}(?![A-Za-z0-9])"
)
NUMBERS = re.compile(r"(?<![0-9.])[0-9](?:[ -]?[0-9]){12,}(?![0-9])")
GROUP = re.compile(r"[0-9]+")
CARD_GROUPS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 1), (4, 4, 4, 4, 3), *((size,) for size in range(13, 20))}
"""How a card number is written among other numbers."""
CARD_SIZES = (5, 4, 3, 1)
LONGEST_CARD = 37
"""Characters of 19 digits with a sign between any two."""
WORD = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,8192}={0,2}")
UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
HEX = re.compile(r"(?:[0-9a-f]+|[0-9A-F]+)")
CALL_ID = re.compile(
    r"(?:call|chatcmpl|toolu|msg|resp|fc|rs|item|run|req|file|asst|thread|gen|cmpl)[_-][A-Za-z0-9]{1,64}"
)
NO_VALUE = frozenset(
    (
        *("null", "none", "true", "false", "string", "required", "optional", "undefined", "missing", "invalid"),
        *("expired", "incorrect", "wrong", "unknown", "must", "empty", "hidden", "type", "text", "password"),
        *("passwd", "secret", "token", "changed", "reset", "http", "https"),
    )
)
KEYWORDS = ("passw", "pwd", "passphrase", "secret", "token", "key", "credential", "auth", "bearer", "basic", "://")
"""Lower-case words without which no name, scheme or address announces a secret."""


def spans(text: str) -> list[Span]:
    """All secrets of a text, the surest first; they may overlap."""
    seen: list[Span] = list(_keys(text)) if "PRIVATE KEY" in text else []
    seen += [Span(*match.span(1)) for match in TOKEN.finditer(text) if _token(match[0], match[1])]
    lower = text.lower()
    if any(word in lower for word in KEYWORDS):
        seen += [Span(*match.span(1), rest=True) for match in SCHEME.finditer(text) if _telling(match[1])]
        seen += [Span(*match.span(1), rest=True) for match in URL.finditer(text)]
        seen += _values(text)
    if "@" in text:
        seen += [Span(*match.span(), Kind.MAIL) for match in MAIL.finditer(text) if match[1] != "git"]
    seen += [span for run in NUMBERS.finditer(text) for span in _cards(run[0], run.start())]
    seen += _words(text)
    return seen


def _keys(text: str) -> Iterator[Span]:
    """The bodies of private keys: up to their end line, or as far as the letters of a key go."""
    at, ended = 0, True
    while match := PEM.search(text, at):
        end = text.find("-----END", match.end()) if ended else -1
        ended = end >= 0
        if not ended:
            body = PEM_BODY.match(text, match.end())
            end = body.end() if body else match.end()
        if end > match.end():
            yield Span(match.end(), end)
        at = max(end, match.end())


def _values(text: str) -> Iterator[Span]:
    """What is assigned to a name that says secret: `password=...`, `"token": "..."`."""
    for match in VALUE.finditer(text):
        name, sign, value = match[1].lower(), match[3], match[6].rstrip(".!?:")
        if len(value) < 4 or value.lower() in NO_VALUE or value.startswith("//"):
            continue
        if name[:4] == "pass" or name == "pwd":
            # "password: four letters" in prose is no password, "password=word" and "password: w0rd" are
            secret = sign == "=" or match[4] is not None or not value.isalpha() or len(value) > 7
        else:
            secret = _telling(value) or value.startswith(SHORT_MARK) or (sign == "=" and name == "secret")
        if secret:
            yield Span(match.start(6), match.start(6) + len(value), rest=True)


def _telling(value: str) -> bool:
    """Not a plain word and not a plain number: digits among letters, or mixed case in a long word."""
    if MARK in value:
        return True
    if value.isdigit() or "://" in value or value.startswith(("/", "./")):
        return False
    letters, digits = any(map(str.isalpha, value)), any(map(str.isdigit, value))
    return (letters and digits and len(value) >= 6) or (len(value) >= 12 and random_word(value))


def _token(whole: str, body: str) -> bool:
    """A known prefix with enough behind it; `sk-learn-pipelines` and `hf_model_name` are words."""
    return len(whole) >= LONG_WORD and (any(map(str.isdigit, body)) or random_word(body) or MARK in body)


def _words(text: str) -> Iterator[Span]:
    """Long random words. A path or a name of several words is looked at part by part."""
    for match in WORD.finditer(text):
        word = match[0].rstrip("=")
        if len(word) > 512 or UUID.fullmatch(word) or CALL_ID.fullmatch(word):
            continue
        if "/" not in word or "+" in word or match[0] != word:
            if len(word) >= 20 and random_word(word):
                yield Span(*match.span())
                continue
        elif len(word) in (40, 64, 86, 88) and random_word(word.replace("/", ""), 1.3) and not word.startswith("/"):
            yield Span(*match.span())
            continue
        yield from _parts(word, match.start())


def _parts(word: str, at: int) -> Iterator[Span]:
    for part in re.finditer(r"[A-Za-z0-9]{20,}", word):
        if random_word(part[0]):
            yield Span(at + part.start(), at + part.end())


def is_prefix(word: str) -> bool:
    """Whether a word is how keys of a known kind begin, without the key."""
    return re.fullmatch(_PREFIX, word) is not None


def random_word(word: str, slack: float = 1.0) -> bool:
    """Whether a word looks drawn at random: many signs, and letters and digits change all the time.
    Hex alone is not: git commits and digests are no secrets. `slack` above 1 lets longer pieces pass."""
    plain = "".join(PIECE.findall(word))
    if len(plain) < 12 or len(plain) < 0.8 * len(word) or HEX.fullmatch(plain):
        return False
    digits, upper = any(map(str.isdigit, plain)), not plain.islower()
    pieces = len(PIECE.findall(plain))
    # a word that people make has pieces of four letters and more; at random they are two or three long
    longest = 2.4 if not digits else 2.8 if upper else 3.4
    drawn = len(plain) / pieces <= longest * slack and entropy(plain) >= 3.3
    return drawn and (digits or upper) and not plain.isdigit()


def entropy(word: str) -> float:
    """Shannon entropy, bits a character."""
    size = len(word)
    return -sum(count / size * math.log2(count / size) for count in Counter(word).values())


def _cards(run: str, at: int) -> Iterator[Span]:
    """The card numbers in a run of numbers: all of it, or some that stand side by side as a card's are written."""
    if len(run) <= LONGEST_CARD and card(run):
        yield Span(at, at + len(run), Kind.CARD)
        return
    groups = [group.span() for group in GROUP.finditer(run)]
    first = 0
    while first < len(groups):
        for size in CARD_SIZES:
            taken = groups[first : first + size]
            start, end = taken[0][0], taken[-1][1]
            if tuple(end - start for start, end in taken) in CARD_GROUPS and card(run[start:end]):
                yield Span(at + start, at + end, Kind.CARD)
                first += size - 1
                break
        first += 1


def card(text: str) -> bool:
    """A card number: the length and first digits of an issuer, and Luhn's checksum."""
    digits = re.sub(r"[ -]", "", text)
    return _issued(digits) and luhn(digits)


def _issued(digits: str) -> bool:
    size, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    if size == 16:
        return (
            digits[0] == "4"
            or 51 <= two <= 55
            or 2221 <= four <= 2720
            or four == 6011
            or two == 65
            or 644 <= three <= 649
            or 3528 <= four <= 3589
            or two == 62
        )
    if size == 15:
        return two in (34, 37)
    if size == 14:
        return two in (36, 38) or 300 <= three <= 305
    return (size == 13 and digits[0] == "4") or (size == 19 and (digits[0] == "4" or two == 62))


def luhn(digits: str) -> bool:
    total = 0
    for at, sign in enumerate(reversed(digits)):
        value = int(sign) * (1 + at % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
