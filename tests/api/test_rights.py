"""Who may do what, for every role on every operation: in-process and over the real HTTP app."""

from collections.abc import Callable
from typing import Any

import pytest

from moss.api import asks
from moss.api.caller import Caller
from moss.api.doors import BASE
from moss.api.operations import OPERATIONS, Operation
from moss.config import Settings
from moss.domain.frozen import Frozen
from moss.domain.ids import RunId
from moss.domain.rights import Action, Role
from moss.errors import Forbidden, MossError, Refused, UserError
from moss.testing.puppet import Attempt
from moss.testing.workbench import approver
from tests.api.conftest import Front

FIXED = Attempt(fixes=("case-1", "case-2", "case-3"))
LOOK = {
    "status", "runs", "failures", "batches", "show", "review", "diff", "matrix", "log", "verify", "approvers", "usage",
    "notices",
}  # fmt: skip
OPERATE = {
    "scan", "flag", "dismiss", "start", "stop", "resume", "rewind", "reject", "rollback", "pause", "unpause",
    "revoke", "tokens", "token_new", "token_revoke", "notices_retry", "backup", "restore",
}  # fmt: skip
MAY: dict[Role, set[str]] = {
    Role.VIEWER: LOOK | {"approve"},
    Role.PROPOSER: LOOK | {"flag"},
    Role.OPERATOR: LOOK | OPERATE | {"approve"},
    Role.APPROVER: LOOK | {"approve"},
    Role.CONTROLLER: LOOK | {"start", "scan"},
}
"""Design 5, written out. `approve`: what counts is the signature, so whoever brings one may hand it in; the live
agent may not even then."""


def ask_of(front: Front, operation: Operation[Any, Any], run: RunId) -> Frozen:
    """Some good words for an operation."""
    fields: dict[str, Any] = {
        "run": run, "because": "so", "fingerprint": "refuses", "to": "plan", "name": "someone", "role": "viewer",
        "session": "s-1", "turn": 1, "folder": "/nowhere/at/all",
    }  # fmt: skip
    if operation.name == "approve":
        fields["consent"] = front.consent
    if operation.name == "start":
        fields["name"] = "b-01"
    return operation.ask.model_validate({name: fields[name] for name in operation.ask.model_fields if name in fields})


@pytest.fixture
def waiting(front: Front) -> RunId:
    """A run that waits for consent."""
    run = front.bench.attempts(FIXED).start()
    front.bench.go_on(run)
    front.consent = front.bench.consent(run)
    return run


def refused_and_allowed(front: Front, run: RunId, ask: Callable[[Operation[Any, Any]], object], role: Role) -> set[str]:
    """The operations that a role was let into; those that it was not have changed nothing."""
    before, entered = front.bench.run(run), set()
    order = sorted(OPERATIONS, key=lambda one: one.name in MAY[role])
    for operation in order:
        if operation.path is None and role is not Role.OPERATOR:
            continue
        was_refused = forbidden(lambda operation=operation: ask(operation))
        if was_refused:
            assert front.bench.run(run) == before, operation.name
        else:
            entered.add(operation.name)
    return entered


@pytest.mark.parametrize("role", list(Role))
def test_every_role_on_every_operation_in_process(front: Front, waiting: RunId, role: Role) -> None:
    caller = Caller("x", role)
    entered = refused_and_allowed(
        front, waiting, lambda one: front.office.ask(caller, one, ask_of(front, one, waiting)), role
    )
    assert entered == MAY[role]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.PROPOSER, Role.OPERATOR, Role.APPROVER])
def test_every_role_on_every_route(front: Front, waiting: RunId, role: Role) -> None:
    with front.door(role) as door:
        entered = refused_and_allowed(front, waiting, lambda one: door.ask(one, ask_of(front, one, waiting)), role)
    assert entered - {"backup", "restore"} == MAY[role] - {"backup", "restore"}


def test_what_only_the_machine_itself_may_is_no_route(front: Front) -> None:
    with front.door(Role.OPERATOR) as door, pytest.raises(UserError, match="only on the machine"):
        door.ask(next(one for one in OPERATIONS if one.name == "backup"), asks.Folder(folder="/x"))


@pytest.mark.parametrize("token", [None, "", "moss_wrong", "Bearer", "x" * 5000])
def test_no_route_answers_without_a_known_token(front: Front, token: str | None) -> None:
    for operation in [one for one in OPERATIONS if one.path]:
        path = BASE + str(operation.path).format(run="ev-01", fingerprint="f", name="n")
        headers = {} if token is None else {"Authorization": f"Bearer {token}".strip()}
        answer = front.client.request(operation.verb, path, headers=headers)
        assert answer.status_code == 401, operation.name
        assert answer.json()["error"] == "NotKnown"
        assert "WWW-Authenticate" in answer.headers


def change(front: Front, settings: Settings) -> None:
    """The office's settings, as if moss.toml had changed."""
    object.__setattr__(front.office.wiring, "settings", settings)


def forbidden(call: Callable[[], object]) -> bool:
    try:
        call()
    except Forbidden:
        return True
    except (MossError, AttributeError):
        return False
    return False


def test_the_live_agents_token_can_never_approve_apply_or_roll_back_whatever_the_policy(
    front: Front, waiting: RunId
) -> None:
    policy = front.bench.parts.settings.policy.model_copy(update={"proposer_may": ("flag", "start", "stop")})
    change(front, front.bench.parts.settings.model_copy(update={"policy": policy}))
    never = {"approve", "rollback", "reject", "resume", "rewind", "pause", "unpause", "token_new", "revoke", "dismiss"}
    before = front.bench.run(waiting)
    with front.door(Role.PROPOSER) as door:
        for operation in OPERATIONS:
            if operation.name in never:
                assert forbidden(lambda one=operation: door.ask(one, ask_of(front, one, waiting))), operation.name
    assert front.bench.run(waiting) == before
    assert not any(operation.action is Action.APPLY for operation in OPERATIONS)


def test_the_policy_can_let_the_live_agent_stop_a_run(front: Front, waiting: RunId) -> None:
    stop = next(one for one in OPERATIONS if one.name == "stop")
    with front.door(Role.PROPOSER) as door:
        with pytest.raises(Forbidden, match="may not stop"):
            door.ask(stop, asks.OneRun(run=waiting))
        policy = front.bench.parts.settings.policy.model_copy(update={"proposer_may": ("stop",)})
        change(front, front.bench.parts.settings.model_copy(update={"policy": policy}))
        door.ask(stop, asks.OneRun(run=waiting))
    assert front.bench.run(waiting).stop == "proposer"


@pytest.mark.parametrize("more", [{"budget": {}}, {"depth": "deep"}, {"coder": "scripted"}, {"anyway": True}])
def test_the_live_agent_starts_a_run_only_as_the_settings_have_it(
    front: Front, waiting: RunId, more: dict[str, Any]
) -> None:
    start = next(one for one in OPERATIONS if one.name == "start")
    policy = front.bench.parts.settings.policy.model_copy(update={"proposer_may": ("start",)})
    change(front, front.bench.parts.settings.model_copy(update={"policy": policy}))
    with front.door(Role.PROPOSER) as door:
        with pytest.raises(Forbidden, match="may start a run only as"):
            door.ask(start, asks.Start.model_validate({"name": "b-01", **more}))
        with pytest.raises(Refused, match="already in run"):  # what its right leads to
            door.ask(start, asks.Start(name="b-01"))


def test_a_signature_of_nobody_that_is_trusted_is_refused_whoever_hands_it_in(front: Front, waiting: RunId) -> None:
    approve = next(one for one in OPERATIONS if one.name == "approve")
    statement = front.bench.run(waiting).statement
    assert statement is not None
    consent = approver("mallory").sign(statement)
    with front.door(Role.OPERATOR) as door, pytest.raises(MossError, match="mallory is not an approver of `puppet`"):
        door.ask(approve, asks.Approve(run=waiting, consent=consent))
    assert front.bench.run(waiting).consents == ()


def test_a_consent_for_another_run_is_not_taken_for_this_one(front: Front, waiting: RunId) -> None:
    approve = next(one for one in OPERATIONS if one.name == "approve")
    other = front.bench.run(waiting).statement
    assert other is not None
    consent = approver().sign(other.model_copy(update={"run": "ev-99"}))
    with pytest.raises(MossError, match="the consent is for ev-99, not for"):
        front.local.ask(approve, asks.Approve(run=waiting, consent=consent))
