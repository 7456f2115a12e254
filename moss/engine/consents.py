"""Owns when a consent is checked: on arrival, and again right before the preflight and the swap. Never a private key.

What makes one good is `domain.consent`; who is trusted comes from the settings of this controller, at that moment.
"""

from moss.domain.consent import Consent, Terms, Trusted, fingerprint, still_approved
from moss.domain.consent import refusal as refusal_of
from moss.domain.facts import REVOKED
from moss.domain.ids import ApproverName
from moss.domain.run import Run
from moss.engine.parts import Parts
from moss.errors import Refused


def terms(parts: Parts, run: Run) -> Terms:
    """What a consent to this run must meet."""
    assert run.statement is not None
    listed = parts.settings.consent.approvers
    gone = parts.store.facts(REVOKED)
    approvers = tuple(
        Trusted(ApproverName(one.name), one.public_key, one.revoked or REVOKED + fingerprint(one.public_key) in gone)
        for one in listed
    )
    consent = parts.settings.consent
    # What is asked for now counts where it is more than when the run began.
    needed = max(run.started.approvals, 0 if consent.auto else consent.needed)
    return Terms(run.statement, approvers, needed, parts.verify)


def arrive(parts: Parts, run: Run, consent: Consent) -> bool:
    """Whether with this consent there are enough. Raises: Refused with the sentence that says why it is not good."""
    now, wanted = parts.clock.now(), terms(parts, run)
    if (no := refusal_of(consent, wanted, now, run.used)) is not None:
        raise Refused(f"{no.sentence}. Nothing was changed.")
    return still_approved((*run.consents, consent), wanted, now) is None


def refusal(parts: Parts, run: Run) -> str | None:
    """Why the run's consents are no longer enough, None while they are (or where none is needed)."""
    if terms(parts, run).needed == 0:
        return None
    no = still_approved(run.consents, terms(parts, run), parts.clock.now())
    return no.sentence if no is not None else None
