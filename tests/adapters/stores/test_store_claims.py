"""Claims between processes that share a file, and between hosts that share only a database."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moss.adapters.stores.claims import this_host
from moss.adapters.stores.sql import SqlStore
from moss.errors import ClaimLost
from moss.testing.clock import ManualClock
from moss.testing.conformance.store import RUN, add

Opened = Callable[[ManualClock, str], SqlStore]


@pytest.fixture
def opened(home: Path) -> Iterator[Opened]:
    stores: list[SqlStore] = []

    def one(clock: ManualClock, host: str) -> SqlStore:
        stores.append(SqlStore.open(home, clock, host=host))
        return stores[-1]

    yield one
    for store in stores:
        store.close()


def test_a_controller_started_anew_on_the_same_host_knows_at_once_that_a_claim_ran_out(
    opened: Opened, clock: ManualClock
) -> None:
    assert opened(clock, "h").claim(RUN, "killed", 30) is not None
    clock.tick(29)
    anew = opened(clock, "h")
    assert anew.claim(RUN, "anew", 30) is None
    clock.tick(2)
    assert anew.claim(RUN, "anew", 30) is not None


@pytest.mark.parametrize("jump", [-3600, 0, 3600])
def test_another_hosts_claim_is_free_when_it_stood_still_for_its_length(
    opened: Opened, clock: ManualClock, jump: float
) -> None:
    theirs = opened(ManualClock(), "far")
    assert theirs.claim(RUN, "far", 30) is not None
    clock.jump(jump)
    ours = opened(clock, "near")
    assert ours.claim(RUN, "near", 30) is None
    clock.tick(29)
    assert ours.claim(RUN, "near", 30) is None
    clock.tick(2)
    assert ours.claim(RUN, "near", 30) is not None


def test_another_host_that_gives_signs_of_life_keeps_its_claim(opened: Opened, clock: ManualClock) -> None:
    far = opened(ManualClock(), "far")
    claim = far.claim(RUN, "far", 30)
    assert claim is not None
    ours = opened(clock, "near")
    for _ in range(6):
        assert ours.claim(RUN, "near", 30) is None
        clock.tick(25)
        claim = far.renew(claim, 30)
    add(far, 1, claim=claim)


def test_after_it_was_taken_the_other_host_can_write_nothing(opened: Opened, clock: ManualClock) -> None:
    far = opened(ManualClock(), "far")
    claim = far.claim(RUN, "far", 30)
    ours = opened(clock, "near")
    ours.claim(RUN, "near", 30)
    clock.tick(31)
    taken = ours.claim(RUN, "near", 30)
    with pytest.raises(ClaimLost, match="near holds it"):
        add(far, 1, claim=claim)
    assert far.run(RUN) is None
    add(ours, 1, claim=taken)


def test_a_deadline_that_this_hosts_clock_cannot_have_made_is_watched_not_believed(
    opened: Opened, clock: ManualClock
) -> None:
    """A machine restored from a snapshot has the same boot and an earlier monotonic clock."""
    later = ManualClock()
    later.tick(7200)
    assert opened(later, "h").claim(RUN, "before", 30) is not None
    ours = opened(clock, "h")
    assert ours.claim(RUN, "after", 30) is None
    clock.tick(31)
    assert ours.claim(RUN, "after", 30) is not None


def test_the_host_is_one_boot_of_one_kernel() -> None:
    assert this_host()
    if Path("/proc/sys/kernel/random/boot_id").exists():
        assert this_host() == this_host()
