"""Owns who may do what: the rights table of design 5, the only one. API and CLI ask `allowed` before anything else.

Never looks at a token or a signature. Invariant: what a role does not have here it cannot do; no policy can give
the live agent (`proposer`) more than to flag, start and stop.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum


class Role(StrEnum):
    VIEWER = "viewer"
    PROPOSER = "proposer"
    """the live agent"""
    OPERATOR = "operator"
    APPROVER = "approver"
    CONTROLLER = "controller"


class Action(StrEnum):
    READ = "read"
    """see runs, evidence, plans and their reasons"""
    FLAG = "flag"
    START = "start"
    STOP = "stop"
    RESUME = "resume"
    REWIND = "rewind"
    REJECT = "reject"
    DISMISS = "dismiss"
    ROLLBACK = "rollback"
    PAUSE = "pause"
    CONFIGURE = "configure"
    """settings, tokens, adoption, approvers"""
    APPROVE = "approve"
    """hand in a consent; it counts only with an approver's signature"""
    APPLY = "apply"
    """swap the live agent, with the consents that are needed"""


PROPOSER_AT_MOST = frozenset({Action.FLAG, Action.START, Action.STOP})
"""What `policy.proposer_may` can let the live agent do beside reading."""

RIGHTS: Mapping[Role, frozenset[Action]] = {
    Role.VIEWER: frozenset({Action.READ}),
    Role.PROPOSER: frozenset({Action.READ}) | PROPOSER_AT_MOST,
    Role.OPERATOR: frozenset(Action) - {Action.APPROVE, Action.APPLY},
    Role.APPROVER: frozenset({Action.READ, Action.APPROVE}),
    Role.CONTROLLER: frozenset({Action.READ, Action.START, Action.APPLY}),
}


def allowed(role: Role, action: Action, proposer_may: Collection[str]) -> bool:
    """Whether a role may do something; `proposer_may` is the policy's list for the live agent."""
    if action not in RIGHTS[role]:
        return False
    return role is not Role.PROPOSER or action not in PROPOSER_AT_MOST or action in proposer_may
