"""Owns which entries of a journal are told to the outside. Never sends (see `outbox`).

`announce` walks from where it was to the journal's end and enqueues by stable ids, so a kill at any moment neither
loses a notice nor makes a second one.
"""

from datetime import datetime, timedelta

from moss.domain.events import Ended, Event, Outcome, Stage, Started, StepDone, SwapResult, read_event
from moss.domain.facts import announced
from moss.domain.journal import Entry
from moss.domain.notice import NoticeKind
from moss.domain.run import Run
from moss.domain.swap import Phase, SwapEnd
from moss.ports import Notice, Store

EXPIRING = timedelta(hours=2)
"""how long before its end a waiting consent is called expiring"""


def announce(store: Store, run: Run, now: datetime) -> None:
    """Enqueues what the run's journal says and was not told yet. Raises: StoreError."""
    name = announced(run.id)
    told = before = int(store.fact(name) or "0")
    for entry in store.entries(run.id, told):
        for notice in notices(run, entry):
            store.enqueue(notice)
        told = entry.seq
    if told != before:
        store.set_fact(name, str(told))
    if expiring := _expiring(run, now):
        store.enqueue(expiring)


def is_news(event: Event) -> bool:
    """Whether anything of it is told to the outside."""
    return bool(_kinds(event))


def notices(run: Run, entry: Entry) -> list[Notice]:
    """What one entry is worth telling."""
    event = read_event(entry.event)
    body: dict[str, object] = {
        "substrate": run.started.substrate,
        "run": run.id,
        "batch": run.started.batch,
        "seq": entry.seq,
        "says": _says(event),
        "lost": list(_lost(run, event)),
    }
    return [Notice(f"{run.id}/{entry.seq}/{kind}", kind, entry.at, run.id, body) for kind in _kinds(event)]


def _says(event: Event) -> str:
    match event:
        case StepDone():
            return event.says
        case Ended():
            return event.because
        case _:
            return ""


def _lost(run: Run, event: Event) -> tuple[str, ...]:
    """Messages that are gone with the state: of the whole swap, where the event ends it."""
    if isinstance(event, StepDone | Ended) and event.outcome is not None and run.swap is not None:
        return run.swap.lost
    return event.result.phase.lost if isinstance(event, StepDone) and isinstance(event.result, SwapResult) else ()


def _kinds(event: Event) -> list[NoticeKind]:
    match event:
        case Started():
            return [NoticeKind.RUN_STARTED]
        case Ended():
            return [NoticeKind.RUN_ENDED]
        case StepDone():
            return _kinds_of_step(event)
        case _:
            return []


def _kinds_of_step(event: StepDone) -> list[NoticeKind]:
    kinds: list[NoticeKind] = []
    if event.next is not None and event.next.stage is Stage.CONSENT and event.step.stage is not Stage.CONSENT:
        kinds.append(NoticeKind.CONSENT_WANTED)
    if isinstance(event.result, SwapResult) and event.turned is not None:
        if event.turned.phase is Phase.WATCH:
            kinds.append(NoticeKind.RELEASED)
        if event.turned.end is SwapEnd.DOWN:
            kinds.append(NoticeKind.OPERATOR_NEEDED)
    match event.outcome:
        case None:
            return kinds
        case Outcome.COMMITTED:
            return [*kinds, NoticeKind.COMMITTED, NoticeKind.RUN_ENDED]
        case Outcome.ROLLED_BACK | Outcome.REVERTED:
            return [*kinds, NoticeKind.ROLLED_BACK, NoticeKind.RUN_ENDED]
        case Outcome.FAILED:
            return [*dict.fromkeys([*kinds, NoticeKind.OPERATOR_NEEDED]), NoticeKind.RUN_ENDED]
        case _:
            return [*kinds, NoticeKind.RUN_ENDED]


def _expiring(run: Run, now: datetime) -> Notice | None:
    waits = run.outcome is None and run.next is not None and run.next.stage is Stage.CONSENT
    if not waits or run.statement is None or now < run.statement.expires - EXPIRING:
        return None
    body = {"substrate": run.started.substrate, "run": run.id, "expires": run.statement.expires.isoformat()}
    return Notice(f"{run.id}/{run.statement.id}/expiring", NoticeKind.CONSENT_EXPIRING, now, run.id, body)
