"""Owns the tie between a turn and what the model said in it: the live agent's exchanges, kept as artifacts.

Never talks to a model. Invariant: what is stored has passed the redaction, whatever the gateway did before; a turn
without a recording is a turn without one, never an error.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from moss.domain.evidence import Chunk, Exchange, Turn
from moss.domain.ids import Digest, FailureId
from moss.errors import GatewayError, StoreBroken, UserError
from moss.gateway.conversation import Heard, find_words
from moss.gateway.recording import dump, joined, load
from moss.ports import GatewayControl, Store

SLACK = timedelta(seconds=60)
"""Around a turn: its line may carry the time of its beginning or of its end."""
APART = timedelta(seconds=1)
"""Two conversations with the same words are told apart by time from this on."""
KIND = "recording"


class Recordings:
    """Finds and keeps recordings. A gateway that is down is asked no more by it."""

    def __init__(self, gateway: GatewayControl, store: Store, redact: Callable[[str], str], looks: int) -> None:
        """`looks`: how often the gateway may be asked."""
        self._gateway, self._store, self._redact = gateway, store, redact
        self._looks = looks
        self._tied: dict[FailureId, Digest | None] = {}

    def tie(self, turn: Turn) -> Turn:
        """The turn with its recording, where the gateway has one."""
        if turn.recording is not None:
            return turn
        if turn.id not in self._tied:
            if self._looks <= 0:
                return turn
            self._tied[turn.id] = self._found(turn)
        return turn.model_copy(update={"recording": self._tied[turn.id]})

    def _found(self, turn: Turn) -> Digest | None:
        around = timedelta(seconds=turn.seconds or 0) + SLACK
        self._looks -= 1
        try:
            seen = self._gateway.live_record(turn.at - around, turn.at + around)
        except GatewayError:
            self._looks = 0
            return None
        named = [one for one in seen if self._is_of(one, turn)]
        own = sorted(named or _by_words(seen, turn), key=lambda one: (one.ordinal if named else 0, one.at))
        return self._store.put(dump(map(self._clean, own)), KIND) if own else None

    def whole(self, turns: Sequence[Turn]) -> Digest | None:
        """One recording of several turns in their order: what a trial replays. None when the last one has none."""
        if not turns or turns[-1].recording is None:
            return None
        spoken = [self._load(turn) for turn in turns]
        return self._store.put(dump(joined(spoken)), KIND) if spoken[-1] else None

    def _is_of(self, exchange: Exchange, turn: Turn) -> bool:
        if exchange.turn is None:
            return False
        session, _, ordinal = exchange.turn.rpartition("#")
        return ordinal == str(turn.ordinal) and turn.session in (session, self._redact(session))

    def _load(self, turn: Turn) -> Sequence[Exchange]:
        if turn.recording is None:
            return ()
        try:
            data = self._store.get(turn.recording)
            return load(data) if data is not None else ()
        except (StoreBroken, UserError):
            return ()

    def _clean(self, exchange: Exchange) -> Exchange:
        """The exchange once more without secrets; chunks are looked at as one text and cut again where they were."""
        body = b"".join(chunk.data for chunk in exchange.chunks)
        clean = self._bytes(body)
        chunks = exchange.chunks if clean == body else tuple(_cut(clean, exchange.chunks))
        turn = exchange.turn and self._redact(exchange.turn)
        request, path = self._bytes(exchange.request), self._redact(exchange.path)
        return exchange.model_copy(update={"request": request, "path": path, "chunks": chunks, "turn": turn})

    def _bytes(self, data: bytes) -> bytes:
        return self._redact(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _by_words(seen: Sequence[Exchange], turn: Turn) -> Sequence[Exchange]:
    """The exchanges of a turn whose agent names no turns: those that hold the user's words, after the same history.

    Of several conversations with the same words: the one in which they are as many messages in, else the nearest one in
    time. None when two are as near.
    """
    found: dict[Digest, list[tuple[Heard, Exchange]]] = {}
    for one in seen:
        heard = find_words(one.request, turn.user) if one.turn is None else None
        if heard is not None and (heard.last or _within(one, turn)):
            found.setdefault(heard.said_before, []).append((heard, one))
    told = [*found.values()]
    as_many = [one for one in told if one[0][0].place == turn.ordinal]
    told = sorted(as_many or told, key=lambda one: _away(one, turn))
    if len(told) > 1 and _away(told[1], turn) - _away(told[0], turn) < APART:
        return ()
    return [one for _, one in told[0]] if told else ()


def _within(exchange: Exchange, turn: Turn) -> bool:
    """Between the turn's first and last word: so it is of this turn though the agent spoke to itself."""
    return turn.seconds is not None and turn.at <= exchange.at <= turn.at + timedelta(seconds=turn.seconds)


def _away(told: Sequence[tuple[Heard, Exchange]], turn: Turn) -> timedelta:
    return min(abs(one.at - turn.at) for _, one in told)


def _cut(data: bytes, chunks: Sequence[Chunk]) -> Iterator[Chunk]:
    """`data` cut where the chunks were; the last one takes what a longer placeholder added."""
    at = 0
    for place, chunk in enumerate(chunks, 1):
        end = at + len(chunk.data) if place < len(chunks) else len(data)
        yield chunk.model_copy(update={"data": data[at:end]})
        at = end
