"""`policy.start = "auto"`: sealed batches start by themselves within their hours and the day's money."""

import time
from collections.abc import Iterator

import pytest

from moss.config import PolicySettings
from moss.domain.budget import Budget
from moss.engine.outbox import Outbox
from moss.engine.serve import Serve
from moss.testing.puppet import Attempt
from moss.testing.workbench import Workbench


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The policy's hours are local ones."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Curated:
    """The curator's part here: a quiet scan, and the bench's own batch."""

    def __init__(self, bench: Workbench) -> None:
        self.scan = self.seal_ripe = lambda: None
        self.oldest_sealed = lambda: next(iter(bench.store.batches()), None)


async def scanned(bench: Workbench, **policy: object) -> list[str]:
    """The runs after one round of the scan under such a policy."""
    settings = PolicySettings.model_validate({"start": "auto", "budget": Budget(money_usd=4.0), **policy})
    bench = bench.with_settings(policy=settings)
    outbox = Outbox(bench.store, (), bench.clock, jitter=lambda: 0.0)
    looped = Serve(bench.parts, bench.controller(), Curated(bench), bench.desk, outbox, lambda: None)  # type: ignore[arg-type]
    await looped._scan()
    return [row.id for row in bench.store.runs()]


async def test_the_oldest_sealed_batch_starts_by_itself(bench: Workbench) -> None:
    assert await scanned(bench) == ["ev-01"]
    assert bench.run(bench.store.runs()[0].id).started.by == "policy"


async def test_by_hand_nothing_starts_by_itself(bench: Workbench) -> None:
    assert await scanned(bench, start="by_hand") == []


async def test_one_run_at_a_time(bench: Workbench) -> None:
    bench.start()
    assert await scanned(bench) == ["ev-01"]


async def test_outside_its_hours_nothing_starts(bench: Workbench) -> None:
    hour = bench.clock.now().hour
    assert await scanned(bench, start_hours=(hour + 1, 24) if hour < 23 else (0, 1)) == []
    assert await scanned(bench, start_hours=(hour, hour + 1)) == ["ev-01"]


async def test_when_the_days_money_is_spent_nothing_starts(bench: Workbench) -> None:
    run = await bench.whole(Attempt())
    assert run.spent.money_usd > 0
    assert await scanned(bench, daily_money_usd=run.spent.money_usd) == ["ev-01"]
    bench.clock.jump(25 * 3600)
    assert len(await scanned(bench, daily_money_usd=run.spent.money_usd)) == 2


async def test_a_budget_below_the_first_reservation_starts_nothing(bench: Workbench) -> None:
    assert await scanned(bench, budget=Budget(money_usd=0.01)) == []
