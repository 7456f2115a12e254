"""Owns what may be asked: one closed, bounded value an operation. Never who may ask, never what happens.

The CLI makes these in-process, the HTTP routes read them from path, query and body. Invariant: no text in here is
longer than its bound, and none holds a NUL.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from moss.domain.budget import Budget
from moss.domain.consent import Consent
from moss.domain.depth import Depth
from moss.domain.frozen import Frozen
from moss.domain.rights import Role


class Ask(Frozen, defer_build=True):
    """Built when the first one is made: a call of `moss` makes one of them, not all."""


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character")
    return text


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_nul)]
"""of a run, a batch, a fingerprint, a session"""
Words = Annotated[str, Field(max_length=2000), AfterValidator(_no_nul)]
"""a person's reason"""
Short = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Limit = Annotated[int, Field(ge=1, le=1000)]
Offset = Annotated[int, Field(ge=0, le=10_000_000)]


class Nothing(Ask):
    """No words are needed."""


class Page(Ask):
    limit: Limit = 100
    offset: Offset = 0


class Listed(Ask):
    limit: Limit = 100


class OneRun(Ask):
    run: Name


class Flag(Ask):
    """A failure that a person (or the agent itself) saw. `expect`: `file:PATH`, `contains:TEXT`, ..."""

    session: Name
    turn: int = Field(ge=1, le=1_000_000)
    because: Words
    expect: tuple[Words, ...] = Field((), max_length=7)


class Dismiss(Ask):
    fingerprint: Name
    because: Words


class Start(Ask):
    """`name`: a batch, a fingerprint or a session; None: the oldest sealed batch."""

    name: Name | None = None
    depth: Depth | None = None
    coder: Short | None = None
    budget: Budget | None = None
    anyway: bool = False


class Log(Ask):
    run: Name
    after: int = Field(0, ge=0)
    limit: Limit = 1000


class Resume(Ask):
    run: Name
    budget: Budget | None = None


class Rewind(Ask):
    run: Name
    to: Short
    iteration: int | None = Field(None, ge=1, le=100)


class Because(Ask):
    run: Name
    because: Words


class Approve(Ask):
    run: Name
    consent: Consent


class Rollback(Ask):
    """`run` None: the one whose candidate is live."""

    run: Name | None = None
    because: Words


class Verify(Ask):
    run: Name | None = None


class NewToken(Ask):
    name: Short
    role: Role


class Named(Ask):
    name: Short


class Folder(Ask):
    """A folder of the machine that MOSS runs on."""

    folder: Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_no_nul)]
