"""Agents that name no turn: their model requests are told apart by the words they hold, the history and the time."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from moss.domain.evidence import Chunk, Exchange, Turn
from moss.domain.ids import Digest
from moss.engine.recordings import Recordings
from moss.gateway.recording import load
from moss.testing.clock import ManualClock
from moss.testing.gateways import MemoryGateway
from moss.testing.samples import NOON
from moss.testing.stores import MemoryStore


class Seen(MemoryGateway):
    """A gateway that saw these exchanges of the live agent."""

    def __init__(self, *exchanges: Exchange) -> None:
        super().__init__()
        self.exchanges = exchanges

    def live_record(self, since: datetime, until: datetime) -> Sequence[Exchange]:
        return [one for one in self.exchanges if since <= one.at < until]


def asked(after: float, *messages: tuple[str, str], said: str = "x") -> Exchange:
    body = {"model": "m", "messages": [{"role": role, "content": content} for role, content in messages]}
    return Exchange(
        ordinal=1,
        at=NOON + timedelta(seconds=after),
        upstream="main",
        path="/v1/chat/completions",
        request=json.dumps(body).encode(),
        canonical=Digest("sha256:0"),
        status=200,
        chunks=(Chunk(data=said.encode()),),
    )


def turn(user: str, ordinal: int = 1, after: float = 0.0, seconds: float | None = 2.0) -> Turn:
    return Turn(session="s1", ordinal=ordinal, at=NOON + timedelta(seconds=after), user=user, seconds=seconds)


def tied(turn: Turn, *exchanges: Exchange) -> list[str]:
    """What the model said in the turn's recording."""
    store, gateway = MemoryStore(ManualClock()), Seen(*exchanges)
    kept = Recordings(gateway, store, lambda text: text, 10).tie(turn).recording
    gateway.shut()
    data = store.get(kept) if kept else None
    return [chunk.data.decode() for one in load(data or b"") for chunk in one.chunks]


SYSTEM, HELLO, HI = ("system", "you help"), ("user", "hello"), ("assistant", "hi")
CALL, RESULT = ("assistant", ""), ("tool", "found")


def test_all_requests_of_a_turn_are_its_own_and_none_of_the_turns_around() -> None:
    first = asked(0.1, SYSTEM, HELLO, said="a")
    second = [asked(3.1, SYSTEM, HELLO, HI, ("user", "go"), said="b"),
              asked(3.2, SYSTEM, HELLO, HI, ("user", "go"), CALL, RESULT, said="c")]  # fmt: skip
    third = asked(6.0, SYSTEM, HELLO, HI, ("user", "go"), CALL, RESULT, HI, ("user", "bye"), said="d")
    assert tied(turn("go", 2, 3.0), third, *second, first) == ["b", "c"]
    assert tied(turn("hello"), third, *second, first) == ["a"]
    assert tied(turn("never said"), third, *second, first) == []


def test_the_same_words_twice_in_a_session_are_two_turns() -> None:
    once = asked(0.1, SYSTEM, HELLO, said="a")
    again = asked(5.1, SYSTEM, HELLO, HI, HELLO, said="b")
    assert tied(turn("hello", 1), once, again) == ["a"]
    assert tied(turn("hello", 2, 5.0), once, again) == ["b"]


def test_the_same_words_in_two_sessions_are_told_apart_by_time_or_not_at_all() -> None:
    mine, other = asked(0.1, SYSTEM, HELLO, said="a"), asked(9.0, ("system", "of another"), HELLO, said="b")
    assert tied(turn("hello"), mine, other) == ["a"]
    assert tied(turn("hello", 1, 9.0), mine, other) == ["b"]
    near = asked(0.3, ("system", "of another"), HELLO, said="b")
    assert tied(turn("hello"), mine, near) == [], "a wrong recording is worse than none"


def test_a_request_after_the_agents_words_to_itself_is_of_the_turn_while_it_lasts() -> None:
    own = ("user", "[System: continue]")
    inside = asked(1.0, SYSTEM, HELLO, CALL, own, said="b")
    assert tied(turn("hello"), asked(0.1, SYSTEM, HELLO, said="a"), inside) == ["a", "b"]
    after = asked(3.0, SYSTEM, HELLO, HI, ("user", "go"), said="c")
    assert tied(turn("hello"), asked(0.1, SYSTEM, HELLO, said="a"), after) == ["a"]
    assert tied(turn("hello", seconds=None), asked(0.1, SYSTEM, HELLO, said="a"), inside) == ["a"]


def test_words_to_which_the_agent_added_lines_are_found_and_parts_of_words_are_not() -> None:
    assert tied(turn("hello"), asked(0.1, ("user", "it is noon\n\nhello"), said="a")) == ["a"]
    assert tied(turn("hello"), asked(0.1, ("user", "say hello"), said="a")) == []
    assert tied(turn(""), asked(0.1, ("user", ""), said="a")) == []


def test_a_request_that_is_none_is_of_no_turn() -> None:
    broken = asked(0.1, HELLO).model_copy(update={"request": b"{"})
    assert tied(turn("hello"), broken, broken.model_copy(update={"request": b'{"messages": 5}'})) == []
