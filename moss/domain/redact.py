"""Owns redaction: what `secrets` finds is replaced by a placeholder of the same shape. Never stores what it saw.

Invariants: the same secret gives the same placeholder in one home and another in the next (HMAC with the home's
salt, so it cannot be guessed back); what only says that it is redacted is not; redacting twice is redacting once; a
text keeps its length, but for mail addresses, passwords that are too short to tell a placeholder, and hidden letters.
"""

import bisect
import hmac
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import stringzilla

from moss.domain import secrets
from moss.domain.evidence import Chunk, Exchange, ToolCall, Turn
from moss.domain.folding import Plain, maybe_odd, plain
from moss.domain.secrets import MARK, SHORT_MARK, Kind, Span

CHECK = 4
MAIL_DOMAIN = "@redacted.invalid"
SHORT_MAIL_DOMAIN = "@r.invalid"
SHORTEST_MAIL = 14
SHORTEST = 4
"""Characters of a secret that are worth a placeholder."""
WINDOW = 1 << 16
"""Characters that a user's pattern looks at in one go."""
OVERLAP = 1 << 10
_CLASSES = bytes(97 if (chr(at).isalnum() and at < 128) or chr(at) in "+/_.=-" else 32 for at in range(256))
_DIGITS = bytes(48 if 48 <= at < 58 or chr(at) in " -" else 120 for at in range(256))
_WORD, _CARD = b"a" * secrets.LONG_WORD, b"0" * 13
_BREAK = re.compile(r"[^A-Za-z0-9]")
BREAKS = 8
"""Places in a word at which a placeholder is looked for; each costs a hash."""
_LOWER = bytes(at + 32 if 65 <= at < 91 else at for at in range(256))


class Redactor:
    """Takes keys and private data out of texts. `salt` belongs to one home; `patterns` are the user's own."""

    def __init__(self, salt: bytes, patterns: Sequence[str] = ()) -> None:
        self._salt = salt
        self._patterns = tuple(re.compile(pattern) for pattern in patterns)

    def redact(self, text: str) -> tuple[str, int]:
        """The text without secrets, and how many there were (placeholders of before are not counted)."""
        if not text or not self.suspects(text.encode("utf-8", "surrogatepass")):
            return text, 0
        found = [*self._user(text), *secrets.spans(text)]
        if (folded := plain(text)) is not None:
            # a secret with hidden or full-width letters is one to whoever pastes it
            found += [_moved(span, folded) for span in (*self._user(folded.text), *secrets.spans(folded.text))]
        return self._replace(text, found) if found else (text, 0)

    def clean(self, text: str) -> str:
        """The text without secrets."""
        return self.redact(text)[0]

    def holds(self, text: str) -> bool:
        """Whether there is a secret in it (a placeholder is none)."""
        return self.redact(text)[1] > 0

    def redact_bytes(self, data: bytes) -> tuple[bytes, int]:
        """The same for bytes of any kind: what is not UTF-8 stays as it is."""
        if not self.suspects(data):
            return data, 0
        text, count = self.redact(data.decode("utf-8", "surrogateescape"))
        return text.encode("utf-8", "surrogateescape"), count

    def suspects(self, data: bytes, json: bool = False) -> bool:
        """Whether a closer look is worth it: a microsecond or two a kilobyte, and never a wrong no.
        `json`: the bytes are JSON, where a letter may hide behind an escape."""
        text = stringzilla.Str(data)
        if json and (text.find(b"\\u") >= 0 or text.find(b"\\/") >= 0):
            return True
        if (
            self._patterns
            or maybe_odd(data)
            or text.find(b"@") >= 0
            or stringzilla.Str(text.translate(_CLASSES)).find(_WORD) >= 0
        ):
            return True
        if stringzilla.Str(text.translate(_DIGITS)).find(_CARD) >= 0 and _CARD in data.translate(_DIGITS, b" -"):
            return True
        return _announced(stringzilla.Str(text.translate(_LOWER)))

    # ------------------------------------------------------------------ values

    def turn(self, turn: Turn) -> Turn:
        """A turn without secrets in any of its texts; `redacted` counts them."""
        if not self.suspects("\n".join(_texts(turn)).encode("utf-8", "surrogatepass")):
            return turn
        work = _Count(self)
        fresh = turn.model_copy(
            update={
                "session": work(turn.session),
                "user": work(turn.user),
                "reply": work.maybe(turn.reply),
                "tools": tuple(work.tool(tool) for tool in turn.tools),
                "finish": work.maybe(turn.finish),
                "error": work.maybe(turn.error),
                "user_id": work.maybe(turn.user_id),
            }
        )
        return fresh.model_copy(update={"redacted": turn.redacted + work.count}) if work.count else turn

    def exchange(self, exchange: Exchange) -> Exchange:
        """A recorded exchange without secrets. Chunks are looked at as one text and cut again where they were."""
        body = b"".join(chunk.data for chunk in exchange.chunks)
        request, _ = self.redact_bytes(exchange.request)
        fresh, count = self.redact_bytes(body)
        update: dict[str, object] = {"request": request, "path": self.clean(exchange.path)}
        if exchange.turn is not None:
            update["turn"] = self.turn_id(exchange.turn)
        if count:
            update["chunks"] = _cut(fresh, exchange.chunks)
        return exchange.model_copy(update=update)

    def turn_id(self, turn: str) -> str:
        """`session#ordinal` as a redacted turn has it."""
        session, sign, ordinal = turn.rpartition("#")
        return f"{self.clean(session)}{sign}{ordinal}"

    # ------------------------------------------------------------------ inside

    def _user(self, text: str) -> list[Span]:
        return [
            Span(at + match.start(), at + match.end(), rest=True)
            for pattern in self._patterns
            for at in range(0, len(text), WINDOW - OVERLAP)
            for match in pattern.finditer(text[at : at + WINDOW])
            if match.end() > match.start()
        ]

    def _replace(self, text: str, found: list[Span]) -> tuple[str, int]:
        parts: list[str] = []
        at = count = 0
        for span in _apart(found):
            word = text[span.start : span.end]
            if (folded := plain(word)) is not None:
                word = folded.text
            parts.append(text[at : span.start])
            at = span.end
            if self._own(word, span.kind):
                parts.append(text[span.start : span.end])
            else:
                parts.append(self._placeholder(word, span.kind))
                count += 1
        parts.append(text[at:])
        return "".join(parts), count

    def _placeholder(self, word: str, kind: Kind) -> str:
        match kind:
            case Kind.MAIL:
                size = max(len(word), SHORTEST_MAIL)
                domain = MAIL_DOMAIN if size >= len(MAIL_DOMAIN) + CHECK else SHORT_MAIL_DOMAIN
                return (
                    _like(("a0" * size)[:size], self._stream(b"mail", word.lower(), size))[: size - len(domain)]
                    + domain
                )
            case Kind.CARD:
                drawn = iter(self._stream(b"card", re.sub(r"\D", "", word), len(word)))
                # no issuer's number starts with a zero, so it is a card's shape and nobody's card
                digits = iter(["0", "0", "0", "0", *(str(value % 10) for value in drawn)])
                return "".join(next(digits) if sign.isdigit() else sign for sign in word)
            case Kind.TOKEN:
                return self._token(word)
            case _ as never:
                assert_never(never)

    def _token(self, word: str) -> str:
        mark, check = _form(len(word))
        drawn = _like(word, self._stream(b"token", word, len(word)))
        body = mark + drawn[len(mark) : len(word) - check]
        return body + self._check(body, word[len(word) - check :])

    def _check(self, body: str, tail: str) -> str:
        """Last characters that only this home can make: by them a placeholder is known again."""
        return _like(tail, self._stream(b"check", body, len(tail)))

    def _own(self, word: str, kind: Kind) -> bool:
        if kind is Kind.MAIL:
            return word.endswith((MAIL_DOMAIN, SHORT_MAIL_DOMAIN))
        if kind is Kind.CARD:
            return False
        if self._made_here(word):
            return True
        first, *pieces = _pieces(word)
        if not pieces and not first.startswith((MARK, SHORT_MARK)):
            return False
        begins = self._kept(first) or (bool(pieces) and _before_placeholder(first))
        return begins and all(map(self._kept, pieces))

    def _kept(self, piece: str) -> bool:
        """A placeholder of this home, with nothing secret behind it. That it says REDACTED is no proof of it."""
        if self._made_here(piece):
            return True
        if not piece.startswith((MARK, SHORT_MARK)):
            return False
        ends = itertools.islice(_BREAK.finditer(piece), BREAKS)
        return any(
            self._made_here(piece[: end.start()]) and not secrets.random_word(piece[end.start() :]) for end in ends
        )

    def _made_here(self, word: str) -> bool:
        mark, check = _form(len(word))
        body, tail = word[: len(word) - check], word[len(word) - check :]
        return word.startswith(mark) and tail == self._check(body, tail)

    def _stream(self, use: bytes, word: str, size: int) -> bytes:
        """`size` bytes that follow from the salt, the use and the word alone."""
        seed = hmac.digest(self._salt, use + b"\0" + word.encode("utf-8", "surrogatepass"), "sha256")
        blocks = [hmac.digest(seed, at.to_bytes(4, "big"), "sha256") for at in range(size // 32 + 1)]
        return b"".join(blocks)[:size]


@dataclass
class _Count:
    """Redacts texts and counts over all of them."""

    redactor: Redactor
    count: int = 0

    def __call__(self, text: str) -> str:
        fresh, count = self.redactor.redact(text)
        self.count += count
        return fresh

    def maybe(self, text: str | None) -> str | None:
        return None if text is None else self(text)

    def tool(self, tool: ToolCall) -> ToolCall:
        before = self.count
        fresh = {
            "name": self(tool.name),
            "arguments": self(tool.arguments),
            "result": self(tool.result),
            "error": self.maybe(tool.error),
        }
        return tool if self.count == before else tool.model_copy(update=fresh)


def _announced(lower: stringzilla.Str) -> bool:
    """Whether one of `secrets.KEYWORDS` is in it: written out, since it is asked of every turn."""
    find: Callable[[bytes], int] = lower.find
    return (
        find(b"passw") >= 0
        or find(b"pwd") >= 0
        or find(b"passphrase") >= 0
        or find(b"secret") >= 0
        or find(b"token") >= 0
        or find(b"key") >= 0
        or find(b"credential") >= 0
        or find(b"auth") >= 0
        or find(b"bearer") >= 0
        or find(b"basic") >= 0
        or find(b"://") >= 0
    )


def _texts(turn: Turn) -> Iterator[str]:
    yield from (turn.session, turn.user, turn.reply or "", turn.finish or "", turn.error or "", turn.user_id or "")
    for tool in turn.tools:
        yield from (tool.name, tool.arguments, tool.result, tool.error or "")


def _cut(data: bytes, chunks: Sequence[Chunk]) -> tuple[Chunk, ...]:
    """`data` cut where the chunks were; the last one takes what a longer placeholder added."""
    ends = [*itertools.accumulate(len(chunk.data) for chunk in chunks[:-1]), len(data)]
    starts = [0, *ends[:-1]]
    return tuple(
        chunk.model_copy(update={"data": data[start:end]})
        for chunk, start, end in zip(chunks, starts, ends, strict=True)
    )


def _pieces(word: str) -> list[str]:
    """A word cut before each mark: a secret that was found in parts has a placeholder for each."""
    return [piece for piece in re.split(f"(?={SHORT_MARK}|{MARK})", word) if piece] or [word]


def _before_placeholder(piece: str) -> bool:
    """What may stand before a placeholder in a word: how a key begins, or parts of a path or a name."""
    return secrets.is_prefix(piece) or (piece[-1] in "/+=_-:." and not secrets.random_word(piece))


def _moved(span: Span, folded: Plain) -> Span:
    """The span of a plain form in the text itself."""
    start, end = folded.span(span.start, span.end)
    return replace(span, start=start, end=end)


def _form(size: int) -> tuple[str, int]:
    """The mark and the number of check characters of a placeholder of that size."""
    if size >= len(MARK) + 2 * CHECK:
        return MARK, CHECK
    mark = SHORT_MARK[: max(1, size - 2)]
    return mark, max(1, min(CHECK, (size - len(mark)) // 2))


def _like(word: str, drawn: bytes) -> str:
    """Letters and digits drawn anew, of the same class each; all other signs stay."""
    signs = []
    for sign, value in zip(word, drawn, strict=True):
        if "0" <= sign <= "9":
            signs.append(chr(48 + value % 10))
        elif "a" <= sign <= "z":
            signs.append(chr(97 + value % 26))
        elif "A" <= sign <= "Z":
            signs.append(chr(65 + value % 26))
        else:
            signs.append(sign)
    return "".join(signs)


def _apart(found: list[Span]) -> list[Span]:
    """Spans in the text's order without overlap: the surer one keeps its place, of the other the rest."""
    kept: list[Span] = []
    for span in found:
        for piece in [*_rest(span, kept)]:
            bisect.insort(kept, piece, key=_start)
    return kept


def _rest(span: Span, kept: list[Span]) -> Iterator[Span]:
    """What of a span no kept one covers: all of it, or, where that is secret too, its pieces but for crumbs."""
    at = span.start
    first = max(0, bisect.bisect_right(kept, span.start, key=_start) - 1)
    for taken in itertools.islice(kept, first, None):
        if taken.start >= span.end:
            break
        if taken.end <= at:
            continue
        if not span.rest:
            return
        if taken.start - at >= SHORTEST:
            yield Span(at, taken.start)
        at = taken.end
    if at == span.start:
        yield span
    elif span.end - at >= SHORTEST:
        yield Span(at, span.end)


def _start(span: Span) -> int:
    return span.start
