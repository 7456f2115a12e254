"""The stories that are killed: the engine over fakes that outlive it and the real store. Run as a program (see `main`):
`python stories.py STORY FOLDER` prints one JSON object with what the kills did.
"""

import asyncio
import json
import logging
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from moss.adapters.stores.sql import SqlStore
from moss.config import ProcessBoxes
from moss.domain.batch import BatchState
from moss.domain.depth import Depth
from moss.domain.events import Stage, StepDone, TrialEnded, read_event
from moss.domain.ids import Key, RunId
from moss.domain.source_secrets import source_secrets
from moss.engine.aftermath import catch_up, sweep
from moss.engine.controller import Controller
from moss.engine.desk import Desk, Wish
from moss.engine.journal import load
from moss.engine.offload import resize
from moss.engine.parts import Parts
from moss.keys import verify
from moss.testing import crash
from moss.testing.conduct import Conduct
from moss.testing.crash import Fuse, Passing, Story, Watched
from moss.testing.durable import (
    DurableBoxes,
    DurableBuilder,
    DurableGateway,
    DurableTarget,
    HastyClock,
)
from moss.testing.puppet import FIRST, Attempt, PuppetCoder, first_tree, programs, smoke
from moss.testing.puppet_world import PuppetEvidence, PuppetTurns
from moss.testing.sources import FolderSource
from moss.testing.workbench import BATCH, SCRIPTED, approver, batch_of, bench_settings, performer_of, seal

FIX = ("case-1",)


class SystemClock:
    """The store's own: claims are judged by the host's clock."""

    def __init__(self, stood: Callable[[], float] = lambda: 0.0) -> None:
        self._stood = stood

    def now(self) -> datetime:
        return datetime.now(UTC) - timedelta(seconds=self._stood())

    def monotonic(self) -> float:
        return time.monotonic() - self._stood()


class World:
    """All parts of one home, as one process holds them."""

    def __init__(self, home: Path, fuse: Passing, attempts: dict[int, Attempt], late: float = 0.0) -> None:
        self.home = home
        self.clock = HastyClock(late=late + 60.0 * _starts(home), stood=lambda: fuse.stood)
        self.sql = SqlStore.open(home / "home", SystemClock(lambda: fuse.stood))
        coder = PuppetCoder(self._paid)
        coder.attempts = attempts
        builder = DurableBuilder(home / "images", smoke)
        source = FolderSource(home / "source")
        boxes = DurableBoxes(home / "boxes", programs(coder), builder.tree)
        gateway = DurableGateway(home / "gateway", {"main": SCRIPTED}, self.clock.now)
        image = next(image for image in builder.list() if image.commit == FIRST)
        live = home / "live"
        live.mkdir(exist_ok=True)
        self.target = DurableTarget.open(home / "target", image, builder.tree, self.clock.now, live)

        def watched(port: object, name: str, effects: Any, **more: Any) -> Any:
            return Watched(port, name, effects, fuse, **more)

        target = watched(self.target, "target", crash.TARGET, saved=self.target.save, seen=self._after)
        seen_gateway = watched(gateway, "gateway", crash.GATEWAY, saved=gateway.save)
        seen_boxes = watched(boxes, "boxes", crash.BOXES)
        turns = PuppetTurns(seen_boxes, boxes.spec_of, target, builder.tree, seen_gateway, self.clock.now)
        self.parts = Parts(
            settings=bench_settings(home, boxes=ProcessBoxes(parallel=1)),
            clock=self.clock,
            store=watched(self.sql, "store", crash.STORE),
            source=watched(source, "source", crash.SOURCE),
            builder=watched(builder, "builder", crash.BUILDER),
            boxes=seen_boxes,
            target=target,
            gateway=seen_gateway,
            turns=watched(turns, "turns", crash.TURNS),
            evidence=PuppetEvidence(),
            coder=lambda role: coder,
            redact=lambda text: text,
            secrets_in=source_secrets,
            verify=verify,
        )

    def _paid(self, key: str) -> None:
        with (self.home / "paid").open("a") as file:
            file.write(key + "\n")

    def _after(self, step: str, error: BaseException | None) -> None:
        """Users' messages at the moments that matter, once each; and a note of every broken rule of the target."""
        if isinstance(error, AssertionError):
            with (self.home / "violations").open("a") as file:
                file.write(f"{step}: {error}\n")
        moments = {"hold": ("held-1", "held-2"), "release": ("after",), "settle": ("settled",)}
        for text in moments.get(step, ()) if error is None else ():
            if text not in self.target.sent:
                self.target.sent[text] = self.target.send(text)


def _starts(home: Path) -> int:
    """How many processes there were before: each lives a minute later, whatever its hasty clock said at its end."""
    place = home / "starts"
    count = int(place.read_text()) if place.exists() else 0
    place.write_text(str(count + 1))
    return count


# ------------------------------------------------------------------ one process


def begin(home: Path) -> None:
    """A home with a store, a first version live, a sealed batch. Copied from one that was made once."""
    made = home.parent / "made"
    if not made.exists():
        _make(made)
    shutil.copytree(made, home)


def _make(home: Path) -> None:
    half = home.with_name("made.half")
    half.mkdir(parents=True)
    builder, source = DurableBuilder(half / "images", smoke), FolderSource(half / "source")
    first_tree(half / "first")
    source.add(FIRST, half / "first")
    builder.build(half / "first", FIRST, "puppet:first", Key("adopt/first"), half / "first.log")
    with SqlStore.open(half / "home", SystemClock()) as store:
        seal(store, batch_of(1, 3), datetime.now(UTC))
    half.rename(home)


def player(attempts: dict[int, Attempt]) -> Any:
    """A controller's life, and the people beside it who do once what is to be done."""

    def play(home: Path, fuse: Passing) -> None:
        world = World(home, fuse, attempts)
        asyncio.run(_live(world))
        world.sql.close()

    return play


async def _live(world: World) -> None:
    parts, desk = world.parts, Desk(world.parts)
    catch_up(parts.store, world.clock.now())
    if not world.sql.runs():
        desk.start(BATCH, Wish(by="alice", depth=Depth.LIGHT))
    run_id = world.sql.runs()[0].id
    controller = Controller(parts, performer_of(parts), "the only one")
    while (run := load(world.sql, run_id)).outcome is None:
        if run.next is not None and run.next.stage is Stage.CONSENT and run.statement is not None:
            desk.approve(approver().sign(run.statement))
        await controller.drive(run_id)
    sweep(parts.store, parts.boxes, parts.settings.home)


# ------------------------------------------------------------------ what came of it


def tell(home: Path) -> dict[str, Any]:
    """All that must be the same with a kill and without."""
    world = World(home, Fuse(), {})
    store, target = world.sql, world.target
    run_id = store.runs()[0].id  # a kill may cost a number, never a run
    run = load(store, run_id)
    broken = store.verify()
    lost = set(run.swap.lost) if run.swap else set()
    answered = [sent.text for sent in target.sent.values() if sent.answered]
    batch = [row.state for state in BatchState for row in store.batches(state)]
    work = world.parts.settings.home / "work"
    paid = (home / "paid").read_text().split()
    told = {
        "runs": len(store.runs()),
        "outcome": run.outcome,
        "because": run.because,
        "story": _story(store, run_id),
        "chain": broken.because if broken else "",
        "money": round(run.spent.money_usd, 6),
        "trials": run.spent.trials,
        "iterations": run.spent.iterations,
        "reserved": len(run.reserved),
        "paid": sorted(Counter(paid).items()),
        "lives": target.images[target.running].commit if target.running else None,
        "policy": target.restart_policy,
        "held": target.held,
        "state": sorted(set(target.state.messages) - {"ping"}),
        "unanswered": [sent.text for sent in target.sent.values() if not sent.answered],
        "forgotten": [] if lost else [text for text in answered if text not in target.state.messages],
        "lost": len(lost),
        "violations": (home / "violations").read_text() if (home / "violations").exists() else "",
        "published": dict(FolderSource(home / "source").published),
        "batch": batch,
        "pool": [failure.id for failure in store.failures(unbatched=True)],
        "notices": sorted(Counter(out.notice.kind for out in store.due(FAR, 100)).items()),
        "boxes": [box.key for box in world.parts.boxes.list()],
        "work": sorted(path.name for path in work.iterdir()) if work.exists() else [],
    }
    store.close()
    text = json.dumps(told, default=str).replace(run_id, "RUN")
    for one in run.iterations:  # a commit is named by the run's key
        text = text.replace(one.work or "nothing", f"COMMIT {one.number}")
        text = text.replace((one.work or "nothing")[:7], f"COMMIT {one.number}")
    return dict(json.loads(text))


FAR = datetime(2100, 1, 1, tzinfo=UTC)
VOLATILE = {"ran", "log", "seconds", "ready_seconds", "longest_wait", "record", "diff"}


def _story(store: SqlStore, run: RunId) -> list[Any]:
    """The journal's steps and trials, without times."""
    told: list[Any] = []
    for entry in store.entries(run):
        match read_event(entry.event):
            case StepDone() as done:
                told.append([done.key, _plain(done.result.model_dump(mode="json")), done.next and done.next.stage])
            case TrialEnded() as ended:
                told.append([ended.trial.key, ended.trial.passed, ended.trial.valid])
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if name not in VOLATILE}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _fix(**live: Any) -> dict[int, Attempt]:
    return {1: Attempt(fixes=FIX, becomes={"live": Conduct(**live)})}


STORIES = {
    "committed": _fix(),
    "no_improvement": {1: Attempt(becomes={"broken": ("guard-1",)}), 2: Attempt(becomes={"broken": ()})},
    "rolled_back": _fix(exits_after_ready=2),
    "restored_from_the_snapshot": _fix(migrates=True, exits_after_ready=2),
}


SINCE = {"no_improvement": "before builder.build", "rolled_back": "before target.state_copy"}
"""what comes before is, word for word, the beginning of the first story"""
SINCE["restored_from_the_snapshot"] = SINCE["rolled_back"]


def tear(home: Path) -> None:
    """The last write of the store's log was cut: what a power cut may leave."""
    log = home / "home" / "store.db-wal"
    if log.exists() and log.stat().st_size > 0:
        os.truncate(log, log.stat().st_size - 7)


def main(name: str, root: Path, only: list[int]) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    name, _, torn = name.partition("+")
    story = Story(begin, player(STORIES[name]), tell, harm=tear if torn else lambda home: None)
    _warm(story, root)
    print(json.dumps(crash.attack(story, root, since=SINCE.get(name), only=only)))


def _warm(story: Story, root: Path) -> None:
    """Everything is imported once, here; then this process has one thread again, as one that forks must."""
    story.begin(root / "warm")
    story.play(root / "warm", Fuse())
    resize(1)
    shutil.rmtree(root / "warm")
    assert threading.active_count() == 1


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [int(number) for number in sys.argv[3:]])
