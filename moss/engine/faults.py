"""Owns how an error becomes a result: its class, its sentence, and what the one policy table says of it."""

from moss.domain.events import StepFailed
from moss.errors import policy_of

SENTENCE = 1000


def step_failed(error: Exception) -> StepFailed:
    """The result of a step that raised `error`, or whose coding agent ended with it."""
    policy = policy_of(error)
    sentence = str(error)[:SENTENCE]
    return StepFailed(error=type(error).__name__, sentence=sentence, then=policy.then, retries=policy.retries)
