"""What tokens cost: dated, overridable, never below the truth."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moss.errors import UserError
from moss.gateway.prices import Price, load_prices
from moss.gateway.wire import Tokens


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return path


def test_cached_tokens_have_their_own_price() -> None:
    price = Price(input=2.0, output=8.0, cached=0.5)
    assert price.cost(Tokens(1000, 100, 400)) == (600 * 2000 + 400 * 500 + 100 * 8000)
    assert Price(input=2.0, output=8.0).cost(Tokens(10, 0, 10)) == 10 * 2000


def test_a_part_of_a_nano_dollar_is_one() -> None:
    assert Price(input=0.0001, output=0.0).cost(Tokens(1, 0)) == 1


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 100), st.floats(0, 100))
def test_no_call_costs_more_than_the_most(sent: int, said: int, part: float, first: float, second: float) -> None:
    price = Price(input=first, output=second, cached=second)
    assert price.cost(Tokens(sent, said, int(sent * part))) <= price.most(sent, said) + 1


def test_a_name_with_a_date_is_the_name() -> None:
    table = load_prices(None)
    assert table.price("gpt-4o-2024-08-06") == table.price("gpt-4o")
    assert table.price("claude-haiku-4-5-20251001") == table.price("claude-haiku-4-5")
    assert table.price("gpt-4o-mini") != table.price("gpt-4o")
    assert table.price("gpt-4o-audio") is None


def test_a_users_row_goes_before_the_built_in_one(tmp_path: Path) -> None:
    own = write(tmp_path, 'dated = 2030-01-01\n[models]\n"gpt-4o" = { input = 9.0, output = 9.0 }\n')
    table = load_prices(own)
    assert table.price("gpt-4o") == Price(input=9.0, output=9.0)
    assert table.price("gpt-4o-mini") == load_prices(None).price("gpt-4o-mini")
    assert table.dated.year == 2030


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dated = 2030-01-01\n[models]\nm = { input = -1.0, output = 1.0 }", r"models\.m\.input"),
        ("dated = 2030-01-01\n[models]\nm = { input = nan, output = 1.0 }", r"models\.m\.input"),
        ("dated = 2030-01-01\n[models]\nm = { input = 1.0 }", r"models\.m\.output"),
        ("[models]", "dated"),
        ("dated = 2030-01-01\nodd = 1", "odd"),
        ("dated = ", "not TOML"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=rf"prices\.toml: .*{says}"):
        load_prices(write(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not TOML"):
        load_prices(path)
    with pytest.raises(UserError, match="cannot be read"):
        load_prices(tmp_path / "none.toml")
