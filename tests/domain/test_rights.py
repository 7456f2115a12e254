"""The rights table of design 5: every role with every action."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moss.domain.rights import PROPOSER_AT_MOST, RIGHTS, Action, Role, allowed

EVERYTHING = tuple(Action)

# v viewer, p proposer, o operator, a approver, c controller; a capital P: only where the policy lets it
TABLE = {
    Action.READ: "vpoac",
    Action.FLAG: "Po",
    Action.START: "Poc",
    Action.STOP: "Po",
    Action.RESUME: "o",
    Action.REWIND: "o",
    Action.REJECT: "o",
    Action.DISMISS: "o",
    Action.ROLLBACK: "o",
    Action.PAUSE: "o",
    Action.CONFIGURE: "o",
    Action.APPROVE: "a",
    Action.APPLY: "c",
}


@pytest.mark.parametrize(("role", "action"), list(product(Role, Action)))
def test_a_role_may_do_exactly_what_its_row_says(role: Role, action: Action) -> None:
    letter, row = role[0], TABLE[action]
    assert allowed(role, action, EVERYTHING) is (letter in row or letter.upper() in row)
    assert allowed(role, action, ()) is (letter in row)


def test_the_table_is_complete() -> None:
    assert set(TABLE) == set(Action)
    assert set(RIGHTS) == set(Role)


@given(st.lists(st.sampled_from([*Action, "everything", "*", "approve "])))
def test_no_policy_lets_the_live_agent_approve_apply_roll_back_or_configure(may: list[str]) -> None:
    given_ = {action for action in Action if allowed(Role.PROPOSER, action, may)}
    assert given_ <= PROPOSER_AT_MOST | {Action.READ}
    assert not given_ & {Action.APPROVE, Action.APPLY, Action.ROLLBACK, Action.CONFIGURE, Action.PAUSE}


@given(st.lists(st.sampled_from(Action)))
def test_the_policy_of_the_live_agent_changes_nothing_for_others(may: list[str]) -> None:
    for role, action in product(set(Role) - {Role.PROPOSER}, Action):
        assert allowed(role, action, may) is allowed(role, action, ())


def test_nobody_both_approves_and_applies() -> None:
    assert not [role for role in Role if {Action.APPROVE, Action.APPLY} <= RIGHTS[role]]
