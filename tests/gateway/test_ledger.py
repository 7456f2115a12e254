"""Nothing is spent twice, nothing over the limit, nothing forgotten by a kill."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moss.domain.ids import Key, RunId
from moss.errors import StoreError, StoreFull, TokenRefused
from moss.gateway.ledger import LIVE_KEY, Full, Hold, Ledger, Want
from moss.gateway.prices import NANO, Price
from moss.gateway.wire import Tokens
from moss.ports import Grant

from .conftest import grant

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PRICE = Price(input=1.0, output=4.0)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    each = Ledger(":memory:")
    yield each
    each.close()


def opened(ledger: Ledger, **limits: Any) -> Grant:
    each = grant(**limits)
    ledger.open(each, NOW)
    return each


def want(sent: int = 10, said: int = 10, price: Price | None = None) -> Want:
    return Want("main", "m", sent, said, price)


def test_room_is_held_until_it_is_settled(ledger: Ledger) -> None:
    each = opened(ledger, max_tokens=50)
    first, second = ledger.reserve(each, 1, want()), ledger.reserve(each, 1, want())
    assert isinstance(first, Hold)
    assert isinstance(second, Hold)
    full = ledger.reserve(each, 1, want())
    assert isinstance(full, Full)
    assert full.busy
    ledger.settle(first, Tokens(10, 2), 0)
    assert isinstance(ledger.reserve(each, 1, want(5, 5)), Hold)


def test_the_last_room_is_given_whole_when_nobody_else_holds_any(ledger: Ledger) -> None:
    each = opened(ledger, max_tokens=35)
    held = ledger.reserve(each, 1, want(10, 100))
    assert isinstance(held, Hold)
    assert held.want.said == 25
    ledger.settle(held, Tokens(10, 5), 0)
    full = ledger.reserve(each, 1, want(10, 100))
    assert isinstance(full, Full)
    assert (full.busy, full.sentence) == (False, "20 of 35 tokens are left")
    assert isinstance(ledger.reserve(each, 1, want(10, 10)), Hold)


def test_money_shortens_an_answer_too(ledger: Ledger) -> None:
    # a hundred tokens in for 100 micro-dollars leave 900 for the answer: 225 tokens
    each = opened(ledger, max_money_usd=0.001)
    held = ledger.reserve(each, 1, want(100, 8192, PRICE))
    assert isinstance(held, Hold)
    assert held.want.said == 225
    ledger.settle(held, Tokens(100, 225), PRICE.cost(Tokens(100, 225)))
    assert ledger.usage(each.key).money_usd == pytest.approx(0.001)
    assert isinstance(ledger.reserve(each, 1, want(1, 1, PRICE)), Full)
    assert isinstance(ledger.reserve(each, 1, want(1, 1, None)), Hold)


calls = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 60), st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=30
)


@settings(deadline=None)
@given(calls, st.integers(1, 300), st.integers(1, 1000))
def test_whatever_comes_in_whatever_order_the_limits_hold(
    asked: list[tuple[int, int, float, int]], max_tokens: int, max_micro: int
) -> None:
    ledger = Ledger(":memory:")
    each = opened(ledger, max_tokens=max_tokens, max_money_usd=max_micro / 1e6)
    flying: list[Hold] = []
    for sent, said, part, ending in asked:
        held = ledger.reserve(each, 1, want(sent, said, PRICE))
        flying += [held] if isinstance(held, Hold) else []
        for hold in flying[:ending]:
            tokens = Tokens(int(hold.want.sent * part), int(hold.want.said * part))
            ledger.settle(hold, tokens, PRICE.cost(tokens))
        flying = flying[ending:]
        usage = ledger.usage(each.key)
        held_tokens = sum(hold.want.sent + hold.want.said for hold in flying)
        held_nano = sum(hold.want.nano for hold in flying)
        assert usage.tokens_in + usage.tokens_out + held_tokens <= max_tokens
        assert round(usage.money_usd * NANO) + held_nano <= max_micro * 1000
    ledger.close()


def test_what_a_killed_gateway_held_counts_as_spent(tmp_path: Path) -> None:
    before = Ledger(tmp_path / "ledger.db")
    each = opened(before, max_tokens=100)
    assert isinstance(before.reserve(each, 1, want(10, 50, PRICE)), Hold)
    before.close()
    after = Ledger(tmp_path / "ledger.db")
    usage = after.usage(each.key)
    assert (usage.tokens_in, usage.tokens_out, usage.faults, usage.estimated) == (10, 50, 1, 1)
    assert usage.money_usd == pytest.approx((10 + 50 * 4) / 1e6)
    after.close()
    Ledger(tmp_path / "ledger.db").close()


def test_an_attempt_begins_only_when_the_one_before_was_used(ledger: Ledger) -> None:
    each = grant(seconds=60.0)
    first = ledger.open(each, NOW)
    assert ledger.open(each, NOW + timedelta(seconds=5)) == first
    ledger.arrive(each.key, 1, "", NOW)
    second = ledger.open(each, NOW)
    assert (first.attempt, second.attempt) == (1, 2)
    assert ledger.open(each, NOW + timedelta(seconds=100)).attempt == 3


def test_revoking_ends_all_attempts_so_far(ledger: Ledger) -> None:
    each = opened(ledger)
    ledger.admit(each.key, 1)
    ledger.revoke(each.key)
    with pytest.raises(TokenRefused, match="revoked"):
        ledger.admit(each.key, 1)
    with pytest.raises(TokenRefused, match="never opened"):
        ledger.admit(each.key, 2)
    assert ledger.open(each, NOW).attempt == 2
    ledger.admit(each.key, 2)


def test_the_live_agents_account_has_one_attempt(ledger: Ledger) -> None:
    live = grant(LIVE_KEY, seconds=None)
    ledger.open(live, NOW)
    assert [ledger.arrive(LIVE_KEY, 1, turn, NOW) for turn in ("s#1", "s#1", "s#2", "")] == [1, 2, 1, 1]
    assert ledger.open(live, NOW).attempt == 1
    ledger.prune_turns(NOW + timedelta(days=1))
    assert ledger.arrive(LIVE_KEY, 1, "s#1", NOW) == 1
    assert ledger.arrive(LIVE_KEY, 1, "", NOW) == 2


def test_spending_is_told_by_run_stage_and_model(ledger: Ledger) -> None:
    for key, run, model in (("a", "ev-01", "m"), ("b", "ev-01", "m"), ("c", "ev-02", "n")):
        each = Grant(Key(key), RunId(run), "plan", grant().mode, ("main",))
        ledger.open(each, NOW)
        held = ledger.reserve(each, 1, Want("main", model, 5, 5, PRICE))
        assert isinstance(held, Hold)
        ledger.settle(held, Tokens(5, 1, 2), 1000)
    rows = ledger.spending()
    assert [(row.run, row.stage, row.model, row.requests, row.cached) for row in rows] == [
        ("ev-01", "plan", "m", 2, 4),
        ("ev-02", "plan", "n", 1, 2),
    ]
    assert [row.money_usd for row in ledger.spending(RunId("ev-01"))] == [pytest.approx(2e-6)]


def test_a_disk_that_is_full_refuses_and_keeps_what_was_there(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    opened(ledger)
    ledger._db.execute("PRAGMA max_page_count = 1")

    def fill() -> None:
        for number in range(10_000):
            ledger.open(grant(f"ev-01/{number}"), NOW)

    with pytest.raises(StoreFull, match="ledger"):
        fill()
    ledger.admit(grant().key, 1)
    ledger.close()


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database, but long enough to be one" * 100)
    with pytest.raises(StoreError, match="ledger"):
        Ledger(path)
