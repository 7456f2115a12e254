"""Owns the conversations that MOSS itself holds with an agent: their names, and which of them are on the live state.

The names look like those of real sessions (`domain.session_names`), so a candidate cannot tell a trial or a canary by
them. Invariant: a canary's name is on record before it is used, so evidence never takes it for a user's.
"""

from moss.domain.case import Case
from moss.domain.facts import OWN_SESSION
from moss.domain.ids import Key
from moss.domain.run import Run
from moss.domain.session_names import session_like
from moss.engine.parts import Parts

DOCTOR_SESSION = "moss-doctor"
"""in which `moss doctor` asks the live agent; no candidate is on trial then"""
CANARY_BITS = 40
"""Chance in a canary's name: it must never be a conversation of a user."""


def trial_session(parts: Parts, case: Case, run: str, repeat: int) -> str:
    """The same for the live version and a candidate, another for each repeat."""
    return session_like(case.turn.session, parts.keyed(f"trial {run} {case.id} {repeat}"))


def canary_session(parts: Parts, run: Run, key: Key, *, on_live_state: bool) -> str:
    """In the shape of the sessions of the run's batch; noted where the live agent will keep it. Raises: StoreError."""
    batch = parts.store.batch(run.started.batch)
    shape = batch.cases[0].turn.session if batch is not None and batch.cases else ""
    name = session_like(shape, parts.keyed(f"canary {key}"), CANARY_BITS)
    if on_live_state:
        for kept in {name, parts.redact(name)}:  # evidence knows it as it was redacted
            parts.store.set_fact(OWN_SESSION + kept, run.id)
    return name


def own_sessions(parts: Parts) -> frozenset[str]:
    """The conversations that MOSS held with the live agent, as evidence names them."""
    return frozenset(name.removeprefix(OWN_SESSION) for name in parts.store.facts(OWN_SESSION)) | {DOCTOR_SESSION}
