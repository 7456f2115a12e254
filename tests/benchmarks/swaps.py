"""How long a swap of the clerk takes away from its users, and what becomes of their messages: as a process, and as a
container (`make` says which, `prefix` stands before the figures' names).

gap        two clients of the same kind, in turn: one meets a swap without the hold proxy (it asks the agent's own
           port), one meets the same agent stopped and started by hand. The figure is the median of the pairs'
           differences.
refused    customers who send without pause through the hold proxy and wait as long as its deadline, while good and
           bad candidates come: every 503, every refused connection, every answer that was not kept.
exits      candidates that exit on the live state, at their start and under their first message: from the moment
           right before the exit, which the candidate writes down, to the entry in the journal, and to the first
           answer of the old version; its own start (median, by hand, in the same run) taken off.
"""

import statistics
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from examples.clerk import traffic
from moss.domain.events import Outcome, StepDone, SwapResult, Version, read_event
from moss.domain.ids import RunId
from tests.benchmarks.clients import ByHand, asking
from tests.benchmarks.rows import Row
from tests.benchmarks.shop import Shop, shop

Make = Callable[[], AbstractContextManager[Shop]]
"""A clerk that serves, for as long as the block lasts."""
LATE = """
_ready = Server.ready
def _late(self, agent):
    time.sleep(2)
    _ready(self, agent)
Server.ready = _late
"""
BROKEN = """
_begin = Door.begin
Door.begin = lambda self, status, *rest: _begin(self, 500, *rest)
"""
NO_PORT = """
def _never(self, *_):
    while True:
        time.sleep(60)
Server.__init__ = _never
"""
NO_CANARY = """
_post = Door.do_POST
def _not_for_the_canary(self):
    if not (self.headers.get("X-Session-Id") or "").startswith("customer"):
        return self._json(500, _error("no"))
    return _post(self)
Door.do_POST = _not_for_the_canary
"""
EXITS = """
import os, pathlib
def _exits(*_):
    pathlib.Path({died!r}).write_text(str(time.time()))
    os._exit(7)
"""
AT_ITS_START = EXITS + "Server.ready = _exits\n"
UNDER_A_MESSAGE = (
    EXITS
    + """
_post = Door.do_POST
def _unless_moss(self):
    return _exits() if (self.headers.get("X-Session-Id") or "").startswith("customer") else _post(self)
Door.do_POST = _unless_moss
"""
)
GOOD = {"good": "", "late": LATE}
BAD = {
    "exits": AT_ITS_START,
    "dies": UNDER_A_MESSAGE,
    "broken": BROKEN,
    "silent": NO_CANARY,
    "no-port": NO_PORT,
}


# ------------------------------------------------------------------ gap


def measure_gap(quick: bool, make: Make = shop, prefix: str = "") -> list[Row]:
    with make() as made:
        one, two = made.base, made.candidate("two")
        pairs = [_pair(made, one if turn % 2 else two) for turn in range(1 if quick else 7)]
    swap, hand = (statistics.median(found) for found in zip(*((gap, other.gap) for gap, other in pairs), strict=True))
    more = statistics.median(gap - other.gap for gap, other in pairs)
    beside = f"swap {swap:.2f} s, by hand {hand:.2f} s, {len(pairs)} pairs"
    says = "what a client without the hold proxy misses in a good swap, above a stop and a start by hand"
    return [Row(f"{prefix}swap_gap_seconds", says, round(more, 3), 1.0, "s", beside=beside)]


def _pair(made: Shop, new: Version) -> tuple[float, ByHand]:
    with asking(made.boot) as client:
        old = client.until_answered()
        run = made.swap(new)
        assert run.outcome is Outcome.COMMITTED, (run.outcome, run.because)
        gap = client.gap(old, client.until_answered(but=old))
    return gap, made.by_hand()


# ------------------------------------------------------------------ refused


def measure_refused(quick: bool, make: Make = shop, prefix: str = "") -> list[Row]:
    good = {"good": GOOD["good"]} if quick else GOOD
    bad = {"exits": BAD["exits"]} if quick else BAD
    with make() as made:
        return [
            _refused(made, f"{prefix}refused_good", Outcome.COMMITTED, good),
            _refused(made, f"{prefix}refused_bad", Outcome.ROLLED_BACK, bad),
        ]


def _refused(made: Shop, name: str, wanted: Outcome, conducts: Mapping[str, str]) -> Row:
    tally = traffic.Tally()
    for kind, conduct in conducts.items():
        candidate = made.candidate(kind, _filled(conduct, made.died_inside))
        with traffic.Steady("127.0.0.1", made.place.port, name=f"customer-{name}-{kind}") as steady:
            run = made.swap(candidate)
        assert run.outcome is wanted, (kind, run.outcome, run.because)
        _add(tally, steady.tally())
    gone = traffic.missing(made.state, tally.acknowledged)
    beside = (
        f"{tally.sent} sent past {len(conducts)} candidates, longest wait {tally.longest_wait:.1f} s, "
        f"{tally.failed} ended with the candidate that had them, {len(gone)} answered but not kept"
    )
    says = f"messages refused or lost while {'good' if wanted is Outcome.COMMITTED else 'bad'} candidates come"
    return Row(name, says, tally.refused + tally.lost + len(gone), 0, "", beside=beside)


def _add(to: traffic.Tally, more: traffic.Tally) -> None:
    for name in ("sent", "answered", "refused", "failed", "lost", "acknowledged", "troubles"):
        setattr(to, name, getattr(to, name) + getattr(more, name))
    to.longest_wait = max(to.longest_wait, more.longest_wait)


# ------------------------------------------------------------------ exits


def measure_exits(quick: bool, make: Make = shop, prefix: str = "") -> list[Row]:
    times = 1 if quick else 3
    with make() as made:
        start = statistics.median(made.by_hand().start for _ in range(times))
        seen = [
            _exit(made, f"exits-{kind}-{turn}", _filled(conduct, made.died_inside))
            for turn in range(times)
            for kind, conduct in enumerate((AT_ITS_START, UNDER_A_MESSAGE))
        ]
    after, again = max(one for one, _ in seen), max(one for _, one in seen)
    says = "the old version answers again after a candidate's exit, its own start taken off, worst"
    beside = f"{again:.2f} s in all, its own start {start:.2f} s"
    return [
        Row(
            f"{prefix}exit_seen_seconds",
            f"a candidate's exit is on record, worst of {len(seen)}",
            round(after, 3),
            1.0,
            "s",
        ),
        Row(f"{prefix}exit_serving_again_seconds", says, round(again - start, 3), 3.0, "s", beside=beside),
    ]


def _exit(made: Shop, name: str, conduct: str) -> tuple[float, float]:
    """Seconds from the exit until it was on record, and until the old version answered."""
    made.died.unlink(missing_ok=True)
    candidate, sent = made.candidate(name, conduct), iter(range(10**9))

    def ask() -> str | None:
        outcome = traffic.send("127.0.0.1", made.place.port, f"customer-{name}-{next(sent)}", "Thank you.")
        return "served" if outcome.status == 200 else None

    with asking(ask) as client:
        client.until_answered()
        run = made.swap(candidate)
        assert run.outcome is Outcome.ROLLED_BACK, (run.outcome, run.because)
        died = float(made.died.read_text())
        again = client.first_after(died)
    return _seen_at(made, run.id) - died, again - died


def _seen_at(made: Shop, run: RunId) -> float:
    """When the first phase that failed was on record."""
    for entry in made.wired.store.entries(run):
        event = read_event(dict(entry.event))
        if isinstance(event, StepDone) and isinstance(event.result, SwapResult) and not event.result.phase.ok:
            return entry.at.timestamp()
    raise AssertionError("no phase of the swap failed")


def _filled(conduct: str, died: str) -> str:
    return conduct.format(died=died) if "{died!r}" in conduct else conduct
