"""The one policy table: what each error means, and that none is left out of it."""

from collections.abc import Iterator

import pytest

from moss import errors
from moss.errors import POLICY, Cause, MossError, Policy, Then, policy_of

CALLERS = (errors.Refused, errors.Forbidden, errors.NotKnown, errors.NotifyError)
"""raised to whoever asked, never by a step: these need no policy"""


def below(kind: type[MossError]) -> Iterator[type[MossError]]:
    for one in kind.__subclasses__():
        yield one
        yield from below(one)


LEAVES = [one for one in below(MossError) if not one.__subclasses__() and one.__module__ == "moss.errors"]


@pytest.mark.parametrize("kind", [one for one in LEAVES if one not in CALLERS])
def test_every_error_of_a_step_has_a_row_or_an_ancestor_with_one(kind: type[MossError]) -> None:
    assert any(one in POLICY for one in kind.__mro__)


def test_the_nearest_row_counts() -> None:
    assert policy_of(errors.Absent("x")) == POLICY[errors.UserError]
    assert policy_of(errors.GatewayDown("x")) == POLICY[errors.GatewayDown] != POLICY[errors.GatewayError]


@pytest.mark.parametrize("error", [ValueError("a defect"), errors.Refused("no"), KeyError()])
def test_an_error_without_a_row_fails_the_run_and_is_not_the_candidates(error: Exception) -> None:
    assert policy_of(error) == Policy(Cause.INFRASTRUCTURE, 0, False, Then.FAIL_RUN)


def test_only_what_a_candidate_did_counts_against_it() -> None:
    assert {kind for kind, policy in POLICY.items() if policy.counts} == {errors.BuildFailed}
    assert all(policy.counts == (policy.cause is Cause.CANDIDATE) for policy in POLICY.values())


@pytest.mark.parametrize(
    "kind",
    [errors.BoxLost, errors.GraderBroken, errors.GatewayError, errors.GatewayDown, errors.ModelError, errors.ModelDown],
)
def test_what_moss_own_side_did_makes_a_trial_invalid(kind: type[MossError]) -> None:
    assert policy_of(kind("x")).then is Then.INVALID


def test_with_the_store_gone_nothing_is_recorded_and_the_claim_is_dropped() -> None:
    assert {policy_of(kind("x")).then for kind in below(errors.StoreError)} == {Then.DROP_CLAIM}
