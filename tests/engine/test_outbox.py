"""The outbox: at least once, with growing pauses, across restarts, and visible when it gives up."""

from datetime import timedelta
from pathlib import Path

import pytest

from moss.adapters.stores.sql import SqlStore
from moss.domain.ids import RunId
from moss.domain.notice import NoticeKind
from moss.engine.outbox import Outbox, Patience
from moss.ports import Notice
from moss.testing.clock import ManualClock
from moss.testing.notifiers import MemoryNotifier
from moss.testing.stores import MemoryStore


def notice(clock: ManualClock, name: str = "ev-01/1/run_started") -> Notice:
    return Notice(name, NoticeKind.RUN_STARTED, clock.now(), RunId("ev-01"), {"run": "ev-01"})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock)


def test_a_notice_is_sent_once_to_each_notifier(store: MemoryStore, clock: ManualClock) -> None:
    one, two = MemoryNotifier("one"), MemoryNotifier("two")
    store.enqueue(notice(clock))
    outbox = Outbox(store, [one, two], clock)
    assert [outbox.deliver_due(), outbox.deliver_due()] == [1, 0]
    assert one.sent == two.sent == [notice(clock)]


def test_a_refused_notice_waits_longer_each_time(store: MemoryStore, clock: ManualClock) -> None:
    hook = MemoryNotifier(refusals=3)
    store.enqueue(notice(clock))
    outbox = Outbox(store, [hook], clock)
    pauses = []
    while not hook.sent:
        outbox.deliver_due()
        waited = 0
        while not hook.sent and not store.due(clock.now()):
            clock.tick(1)
            waited += 1
        pauses.append(waited)
    assert pauses == [5, 10, 20, 0]


def test_jitter_shortens_a_pause_by_at_most_half() -> None:
    patience = Patience(first=timedelta(seconds=8), longest=timedelta(seconds=60))
    assert [patience.pause(0, jitter).total_seconds() for jitter in (0.0, 0.5, 1.0)] == [4, 6, 8]
    assert patience.pause(10_000, 1.0) == timedelta(seconds=60)


def test_who_took_a_notice_is_not_sent_it_again_because_another_did_not(store: MemoryStore, clock: ManualClock) -> None:
    good, bad = MemoryNotifier("good"), MemoryNotifier("bad", refusals=2)
    store.enqueue(notice(clock))
    for _ in range(3):
        Outbox(store, [good, bad], clock).deliver_due()
        clock.tick(60)
    assert (len(good.sent), len(bad.sent)) == (1, 1)


def test_a_receiver_that_is_down_is_asked_once_in_a_round(store: MemoryStore, clock: ManualClock) -> None:
    bad, good = MemoryNotifier("bad", refusals=1000), MemoryNotifier("good")
    for place in range(25):
        store.enqueue(notice(clock, f"n{place}"))
    assert Outbox(store, [bad, good], clock).deliver_due() == 0
    assert bad.attempts == 1
    assert len(good.sent) == 25


def test_after_its_age_a_notice_is_kept_as_undeliverable_with_the_reason(
    store: MemoryStore, clock: ManualClock
) -> None:
    hook = MemoryNotifier(refusals=1000)
    store.enqueue(notice(clock))
    outbox = Outbox(store, [hook], clock, patience=Patience(age=timedelta(hours=1)))
    for _ in range(200):
        outbox.deliver_due()
        clock.tick(60)
    (given_up,) = store.undeliverable()
    assert given_up.because == "memory: told to refuse"
    assert 5 < given_up.attempts < 30
    assert store.due(clock.now()) == []


def test_a_notice_older_than_its_age_is_still_tried_once(store: MemoryStore, clock: ManualClock) -> None:
    hook = MemoryNotifier()
    store.enqueue(notice(clock))
    clock.tick(timedelta(days=9).total_seconds())
    assert Outbox(store, [hook], clock).deliver_due() == 1
    assert len(hook.sent) == 1


def test_a_wall_clock_set_back_delays_nothing(store: MemoryStore, clock: ManualClock) -> None:
    hook = MemoryNotifier(refusals=1)
    store.enqueue(notice(clock))
    outbox = Outbox(store, [hook], clock)
    outbox.deliver_due()
    clock.jump(-3600)
    clock.tick(10)
    assert outbox.deliver_due() == 1


def test_without_notifiers_nothing_piles_up(store: MemoryStore, clock: ManualClock) -> None:
    store.enqueue(notice(clock))
    Outbox(store, [], clock).deliver_due()
    assert store.due(clock.now()) == []


def test_attempts_and_pauses_outlive_a_restart(clock: ManualClock, tmp_path: Path) -> None:
    hook = MemoryNotifier(refusals=2)
    for pause in (0, 4, 2, 9, 2):
        clock.tick(pause)
        with SqlStore.open(tmp_path, clock) as store:
            store.enqueue(notice(ManualClock()))
            Outbox(store, [hook], clock).deliver_due()
    assert hook.attempts == 3
    assert len(hook.sent) == 1
