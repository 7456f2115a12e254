"""Each kind of bad candidate on the live state, with a client that sends without pause: the old one serves again.

The swap is walked by hand here, in the order in which the swap machine walks it.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from moss.domain.ids import Key
from moss.errors import NotExpected
from moss.ports import Image, Place, Readiness
from moss.testing.live_process import Asked, LiveProcess, post
from tests.pace import at_most

pytestmark = pytest.mark.slow
KEY = Key("ev-01/swap")


@contextmanager
def steadily(live: LiveProcess) -> Iterator[list[Asked]]:
    """A client that sends without pause until the block ends; what it sent, answered."""
    sent: list[Asked] = []
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            sent.append(post(live.settings.live.port, f"m{len(sent)}"))

    client = threading.Thread(target=send)
    client.start()
    try:
        yield sent
        before = len(sent)
        while len(sent) < before + 3:
            time.sleep(0.005)
    finally:
        over.set()
        client.join()


def switch(live: LiveProcess, new: Image) -> None:
    """Up to the start of the candidate, under the hold."""
    live.target.prepare(new, KEY)
    assert live.target.hold(KEY, 2.0, 60.0).complete
    live.target.stop(KEY, live.old.digest)
    assert live.target.snapshot(KEY, 1 << 30) is not None
    live.target.start(KEY, new.digest)


def end_of_start(live: LiveProcess, seconds: float) -> Readiness:
    ends = time.monotonic() + seconds
    while (seen := live.target.probe().readiness) is Readiness.STARTING and time.monotonic() < ends:
        time.sleep(0.01)
    return seen


def back(live: LiveProcess, new: Image) -> None:
    live.target.stop(KEY, new.digest)
    live.target.start(KEY, live.old.digest)
    assert end_of_start(live, 5.0) is Readiness.READY
    live.target.release(KEY)
    live.target.settle(KEY)


def nothing_lost(live: LiveProcess, sent: list[Asked]) -> None:
    """Every acknowledged message is in the state, in the order it was sent, once."""
    acknowledged = [asked.text for asked in sent if asked.status == 200]
    assert live.kept() == acknowledged
    assert not live.two_writers()


def test_a_good_candidate_takes_over_and_no_message_is_refused(live: LiveProcess) -> None:
    new = live.version("2", ready_after=0.3)
    with steadily(live) as sent:
        switch(live, new)
        assert end_of_start(live, 5.0) is Readiness.READY
        released = live.target.release(KEY)
        live.target.settle(KEY)
    assert {asked.status for asked in sent} == {200}
    assert (released.refused, released.waited) == (0, 1)
    assert sent[-1].body["version"] == "2"
    nothing_lost(live, sent)


@pytest.mark.parametrize(
    ("conduct", "seconds", "seen"),
    [
        ({"exits_after": 0}, 5.0, Readiness.FAILED),
        ({"status": 500}, 5.0, Readiness.FAILED),
        ({"no_port": True}, 0.5, Readiness.STARTING),
        ({"ready_after": 40.0}, 0.5, Readiness.STARTING),
    ],
)
def test_a_candidate_that_never_gets_ready_costs_no_message(
    live: LiveProcess, conduct: dict[str, object], seconds: float, seen: Readiness
) -> None:
    bad = live.version("bad", **conduct)
    with steadily(live) as sent:
        switch(live, bad)
        assert end_of_start(live, seconds) is seen
        back(live, bad)
    assert {asked.status for asked in sent} == {200}
    assert {asked.body["version"] for asked in sent} == {"1"}
    nothing_lost(live, sent)


def test_an_exit_is_seen_within_a_second_with_its_code_and_cause(live: LiveProcess) -> None:
    bad = live.version("bad", exits_after=0, exit_code=41)
    switch(live, bad)
    began = time.monotonic()
    while (probe := live.target.probe()).readiness is Readiness.STARTING:
        time.sleep(0.01)
    assert time.monotonic() - began < at_most(1.0)
    assert (probe.readiness, probe.exit_code) == (Readiness.FAILED, 41)
    assert "41" in probe.detail


def test_a_candidate_without_its_program_is_an_exit_and_not_an_error(live: LiveProcess) -> None:
    bad = live.version("bad")
    (live.image(bad.digest) / "agent.py").unlink()
    switch(live, bad)
    assert end_of_start(live, 5.0) is Readiness.FAILED
    back(live, bad)


def test_one_that_ignores_sigterm_is_killed_after_its_grace(live: LiveProcess) -> None:
    deaf = live.version("deaf", deaf=True)
    with steadily(live) as sent:
        switch(live, deaf)
        assert end_of_start(live, 5.0) is Readiness.READY
        began = time.monotonic()
        back(live, deaf)
        took = time.monotonic() - began
    grace = live.settings.live.grace_seconds
    assert grace <= took < grace + 3
    assert {asked.status for asked in sent} == {200}
    nothing_lost(live, sent)


def test_one_that_dies_under_its_first_message_costs_that_message_alone(live: LiveProcess) -> None:
    bad = live.version("bad", dies_under=1)
    with steadily(live) as sent:
        switch(live, bad)
        assert end_of_start(live, 5.0) is Readiness.READY
        live.target.release(KEY)
        while live.target.probe().readiness is not Readiness.FAILED:
            time.sleep(0.01)
        live.target.hold(KEY, 1.0, 60.0)
        back(live, bad)
    statuses = Counter(asked.status for asked in sent)
    assert statuses == {200: len(sent) - 1, 502: 1}
    assert sent[-1].body["version"] == "1"
    nothing_lost(live, sent)


def test_one_that_answers_health_but_not_the_canary_is_seen_behind_the_hold(live: LiveProcess) -> None:
    bad = live.version("bad", canary=False)
    switch(live, bad)
    assert end_of_start(live, 5.0) is Readiness.READY
    host, port = live.target.address()
    assert live.target._turns.send(Place(host, port), "canary", "ping", 5).status == 500
    back(live, bad)
    assert live.send("m").wait().body["version"] == "1"


def test_one_that_migrated_the_schema_needs_the_snapshot_and_the_lost_messages_are_named(live: LiveProcess) -> None:
    assert live.send("before").wait().status == 200
    bad = live.version("bad", schema=2, dies_under=2)
    switch(live, bad)
    assert end_of_start(live, 5.0) is Readiness.READY
    live.target.release(KEY)
    assert live.send("answered by the candidate").wait().status == 200
    assert live.send("kills it").wait().status == 502
    live.target.hold(KEY, 1.0, 60.0)
    live.target.stop(KEY, bad.digest)
    live.target.start(KEY, live.old.digest)
    assert end_of_start(live, 5.0) is Readiness.FAILED
    live.target.stop(KEY, live.old.digest)
    lost = live.target.answered(KEY)
    assert [(line.method, line.path, line.status, line.session) for line in lost] == [("POST", "/say", 200, "s-1")]
    live.target.restore_state(KEY)
    live.target.start(KEY, live.old.digest)
    assert end_of_start(live, 5.0) is Readiness.READY
    live.target.release(KEY)
    live.target.settle(KEY)
    assert live.kept() == ["before"]
    assert live.send("after").wait().status == 200


def test_a_candidate_is_not_started_again_by_itself_and_a_settled_one_is(live: LiveProcess) -> None:
    new = live.version("2", dies_under=1)
    switch(live, new)
    assert end_of_start(live, 5.0) is Readiness.READY
    live.target.release(KEY)
    assert live.send("kills it").wait().status == 502
    while live.target.current().running:
        time.sleep(0.01)
    time.sleep(0.5)
    assert not live.target.current().running
    live.target.start(KEY, new.digest)
    live.target.settle(KEY)
    boot = live.target.current().boot
    assert live.send("kills it").wait().status == 502
    while live.target.current().boot in (None, boot):
        time.sleep(0.01)


def test_an_agent_that_somebody_else_replaced_is_left_alone(live: LiveProcess) -> None:
    new, theirs = live.version("2"), live.version("theirs")
    live.target.prepare(new, KEY)
    live.target.stop(KEY, live.old.digest)
    live.target.install(theirs)
    live.until_ready()
    for step in (
        lambda: live.target.stop(KEY, live.old.digest),
        lambda: live.target.start(KEY, new.digest),
        lambda: live.target.restore_state(KEY),
    ):
        with pytest.raises(NotExpected):
            step()
    assert live.send("m").wait().body["version"] == "theirs"


def test_what_was_live_comes_back_exactly_as_it_was(live: LiveProcess) -> None:
    before = live.target.home.read().spec
    bad = live.version("bad", exits_after=0)
    switch(live, bad)
    assert end_of_start(live, 5.0) is Readiness.FAILED
    back(live, bad)
    assert live.target.home.read().spec == before
