"""Owns who asks: a name and a role. Never what a role may do (see `domain.rights`).

Tokens of the HTTP API are shown once and kept as hashes, under the store's facts `token:<name>`. Invariant: a token
that leaks from a copy of the store opens nothing.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from moss.domain.facts import TOKEN
from moss.domain.frozen import Frozen, sha256
from moss.domain.rights import Action, Role, allowed
from moss.errors import Absent, Forbidden, NotKnown, Refused, StoreBroken
from moss.ports import Store

PREFIX = "moss_"
TOKEN_ROLES = (Role.VIEWER, Role.PROPOSER, Role.OPERATOR, Role.APPROVER)
"""roles that a token may have; the controller is no caller"""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    name: str
    role: Role

    def handing_in(self) -> "Caller":
        """The caller of a consent: the signature is what counts, so whoever hands one in acts as its approver.
        Only the live agent may not, whatever it got hold of."""
        return self if self.role in (Role.PROPOSER, Role.CONTROLLER) else Caller(self.name, Role.APPROVER)

    def may(self, action: Action, proposer_may: tuple[str, ...]) -> None:
        """Raises: Forbidden."""
        if not allowed(self.role, action, proposer_may):
            raise Forbidden(f"{self.role} may not {action}. Nothing was changed.", mend=_mend(self.role, action))


def _mend(role: Role, action: Action) -> str | None:
    if role is Role.PROPOSER and action in (Action.START, Action.STOP, Action.FLAG):
        return f'let the live agent do it: policy.proposer_may = ["{action}"]'
    if action in (Action.APPROVE, Action.APPLY):
        return "only a person outside of the agent, with an approver's key, can"
    return "ask an operator"


OPERATOR = Caller("operator", Role.OPERATOR)
"""who sits at the machine: whoever can write the home can do all that an operator can"""


class TokenFact(Frozen):
    """What is kept of a token."""

    hash: str
    role: Role
    made: datetime


@dataclass(frozen=True, slots=True)
class TokenLine:
    """What may be shown of a token."""

    name: str
    role: Role
    made: datetime


def new_token(store: Store, name: str, role: Role, at: datetime) -> str:
    """A fresh token, seen here and never again. Raises: Refused when the name is taken."""
    token = PREFIX + secrets.token_urlsafe(32)
    fact = TokenFact(hash=sha256(token.encode()), role=role, made=at)
    if not store.set_fact(TOKEN + name, fact.model_dump_json(), expect=None):
        raise Refused(f"there is a token {name} already", mend=f"moss token revoke {name}, then again")
    return token


def revoke_token(store: Store, name: str) -> None:
    """Raises: Absent."""
    if store.fact(TOKEN + name) is None:
        raise Absent(f"there is no token {name}", mend="moss token list")
    store.set_fact(TOKEN + name, None)


def tokens(store: Store) -> tuple[TokenLine, ...]:
    """All of them, by name."""
    return tuple(TokenLine(name, fact.role, fact.made) for name, fact in _facts(store))


def caller_of(store: Store, token: str | None) -> Caller:
    """Who shows this token. Raises: NotKnown."""
    if token:
        hashed = sha256(token.encode("utf-8", "surrogateescape"))
        for name, fact in _facts(store):
            if hmac.compare_digest(fact.hash, hashed):
                return Caller(name, fact.role)
    raise NotKnown(
        "no token, or one that is not known here",
        mend="Authorization: Bearer TOKEN, as moss token new NAME --role viewer shows it",
    )


def _facts(store: Store) -> list[tuple[str, TokenFact]]:
    found = []
    for name, text in store.facts(TOKEN).items():
        try:
            found.append((name.removeprefix(TOKEN), TokenFact.model_validate_json(text)))
        except ValidationError:
            raise StoreBroken(
                f"the fact {name} cannot be read",
            ) from None
    return found
