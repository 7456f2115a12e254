"""Budgets: reserved before spent, and a limit is a limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from moss.domain.budget import KINDS, Budget, Spend

AMOUNTS = st.builds(
    Spend,
    money_usd=st.integers(0, 1000).map(lambda cents: cents / 4),
    tokens=st.integers(0, 1000),
    seconds=st.integers(0, 1000).map(float),
    iterations=st.integers(0, 9),
    trials=st.integers(0, 99),
)


def test_what_fits_exactly_fits() -> None:
    assert Budget(money_usd=4.0).lacks(Spend(money_usd=3.75), Spend(money_usd=0.25)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_a_limit_of_its_own(kind: str) -> None:
    budget = Budget.model_validate({kind: 2})
    one, two = Spend.model_validate({kind: 1}), Spend.model_validate({kind: 2})
    assert budget.lacks(one, one) is None
    assert budget.lacks(one, two) == f"{kind}: 2 wanted, 1 of 2 left"
    assert Budget().lacks(two, two) is None


def test_an_overrun_leaves_nothing_and_says_so() -> None:
    said = Budget(tokens=10).lacks(Spend(tokens=15), Spend(tokens=1))
    assert said == "tokens: 1 wanted, 0 of 10 left"


def test_what_costs_nothing_is_never_refused() -> None:
    assert Budget(money_usd=0, trials=0).lacks(Spend(money_usd=9, trials=9), Spend()) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), "x"])
def test_an_amount_that_is_none_is_refused(kind: str, amount: object) -> None:
    for model in (Spend, Budget):
        with pytest.raises(ValidationError):
            model.model_validate({kind: amount})


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_adding_is_in_any_order_and_loses_nothing(one: Spend, two: Spend, three: Spend) -> None:
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + Spend() == one


@given(AMOUNTS, st.lists(AMOUNTS, max_size=8))
def test_reserving_only_what_fits_never_overspends(limit: Spend, wishes: list[Spend]) -> None:
    budget, spent = Budget.model_validate(limit.model_dump()), Spend()
    for wish in wishes:
        if budget.lacks(spent, wish) is None:
            spent = spent + wish
    assert all(getattr(spent, kind) <= getattr(limit, kind) for kind in KINDS)
