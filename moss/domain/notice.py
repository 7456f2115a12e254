"""Owns the kinds of notices that leave MOSS. Never who receives them (see `engine.outbox`)."""

from enum import StrEnum


class NoticeKind(StrEnum):
    BATCH_SEALED = "batch_sealed"
    RUN_STARTED = "run_started"
    CONSENT_WANTED = "consent_wanted"
    CONSENT_EXPIRING = "consent_expiring"
    RELEASED = "released"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    OPERATOR_NEEDED = "operator_needed"
    RUN_ENDED = "run_ended"
