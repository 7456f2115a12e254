"""Owns `make demo`: the whole loop on the clerk, in plain processes, with a scripted model and a scripted coder.

    python -m examples.clerk.demo [--folder .demo] [--down]

Killed at any moment and run again, it goes on where it was: what was done is read from the journal, the evidence and
the clerk's own files. The last line is one JSON object; exit 0 only when all of it is as it must be.
"""

import argparse
import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import structlog

from examples.clerk import screen, traffic
from examples.clerk.workshop import Workshop, lay_out
from moss import wiring
from moss.api.plain import date
from moss.domain.batch import Batch, BatchState
from moss.domain.depth import Depth
from moss.domain.events import Outcome, Stage, read_event
from moss.domain.ids import Fingerprint, RunId
from moss.domain.run import Run, apply, begin
from moss.engine.controller import Idle
from moss.engine.desk import Wish
from moss.engine.journal import load
from moss.errors import MossError, UserError
from moss.keys import load_key, new_key
from moss.ports import Readiness
from moss.settings import load as load_settings

APPROVER = "demo"
STORIES = (("refund-twice", "coder-refund.json"), ("lost-order", "coder-lost-order.json"))
WANTED = {"ev-01": Outcome.COMMITTED, "ev-02": Outcome.ROLLED_BACK}
TAKEN_PAUSE = 0.2
"""seconds between two looks whether a killed demo's claim on the run has run out"""
OLD_TURNS = 24
"""turns that a steady customer's conversation has before the second swap: its candidate dies on long ones"""

HEAD = """MOSS demo · everything below is real except the model and the coding agent, which are scripted
            boxes are plain processes here: they isolate nothing. `make demo-docker` uses containers
            the watch after a swap is 3 s here (10 s by default), the soak is off (24 h by default)
"""


class Demo:
    """One telling of the demo in a folder."""

    head, command = HEAD, "make demo"
    depth = Depth.STANDARD

    @staticmethod
    def demand() -> None:
        """Raises: UserError when this machine lacks what it needs; nothing was done then."""

    def __init__(self, folder: Path) -> None:
        self.shop = self._laid_out(folder)
        self.sums = traffic.Sums()
        self.wired = self._wired()

    # ------------------------------------------------------------------ the place

    def _laid_out(self, folder: Path) -> Workshop:
        keys = folder.resolve().with_name(folder.name + "-keys")
        public = self._key(keys)
        approvers = f'\n[consent]\napprovers = [{{ name = "{APPROVER}", public_key = "{public}" }}]\n'
        return self._lay_out(folder, approvers)

    def _lay_out(self, folder: Path, approvers: str) -> Workshop:
        return lay_out(folder, approvers=approvers)

    def _key(self, keys: Path) -> str:
        """The demo's own approver key: beside the demo's folder, never in it."""
        self.keys = keys
        if not keys.exists():
            half = keys.with_name(keys.name + ".half")
            shutil.rmtree(half, ignore_errors=True)
            new_key(APPROVER, half)
            half.rename(keys)
        return load_key(APPROVER, keys).public.text

    def _wired(self) -> wiring.Wiring:
        settings = load_settings(self.shop.toml, {})
        return wiring.Wiring(settings, dict(os.environ))

    @property
    def state(self) -> Path:
        """The clerk's, as far as it can be read from here."""
        return self.shop.state

    def start(self) -> None:
        """The gateway, the clerk behind the hold proxy: what `moss serve` and `moss adopt` do."""
        self.wired.start_gateway()
        self._adopted()
        until = time.monotonic() + 20
        while self.wired.target.probe().readiness is not Readiness.READY:
            if time.monotonic() > until:
                raise UserError("the clerk does not get ready", mend=f"see the logs in {self.shop.root}/.moss/live")
            time.sleep(0.05)

    def _adopted(self) -> None:
        self.wired.target.keep_alive()
        if not self._installed():
            self.wired.install(self.wired.source.resolve("HEAD"))

    def _installed(self) -> bool:
        try:
            return bool(self.wired.target.current())
        except MossError:
            return False

    # ------------------------------------------------------------------ the day

    def day(self) -> None:
        """The customers' day, from the first message that the clerk does not have yet."""
        left: list[tuple[str, str]] = []
        seen: dict[str, int] = {}
        turns = self._turns()
        for session, message in traffic.DAY:
            seen[session] = seen.get(session, 0) + 1
            if seen[session] > turns[session]:
                left.append((session, message))
        tally = traffic.day("127.0.0.1", self.shop.port, left)
        if tally.answered != len(left):
            raise UserError(f"the clerk did not answer: {tally.troubles[:3]}", mend=self.anew)

    @property
    def anew(self) -> str:
        return f"to start anew: make demo-down, then {self.command}"

    def _turns(self) -> Counter[str]:
        """How many turns each session has."""
        files = (self.state / "sessions").glob("*.jsonl")
        return Counter({path.stem: path.read_bytes().count(b"\n") for path in files})

    def evidence(self) -> None:
        """What the scan found, and the live agent's line."""
        say(screen.line("live agent", f"clerk 1.0 on 127.0.0.1:{self.shop.port}, {len(traffic.DAY)} turns served", 2))
        self.wired.curator.scan()
        rows = self.wired.store.fingerprints()
        kinds = ", ".join(f"{row.fingerprint} x{row.seen}" for row in rows)
        failed = sum(row.seen for row in rows)
        well = f"{len(self.wired.store.guards())} turns that went well"
        say(screen.line("evidence", f"{failed} failures, {len(rows)} fingerprints: {kinds}; {well}", 2))

    # ------------------------------------------------------------------ a run

    def run(self, run_id: RunId, fingerprint: str, script: str) -> Run:
        """One evolution from batch to end, told as it goes."""
        self.shop.coder(script)
        self.wired = self._wired()
        if self.wired.store.run(run_id) is None:
            batch = self._batch(Fingerprint(fingerprint))
            self.wired.desk.start(batch.id, Wish(by="demo", depth=self.depth))
        run = load(self.wired.store, run_id)
        sealed = f"batch {run.started.batch} ({fingerprint} x{len(run.started.cases)})"
        label = f"{sealed}, depth {run.started.depth}, coder scripted"
        say(screen.line(f"run {run_id}", label, 2))
        run = asyncio.run(self._told(run_id, self.wired.store.batch(run.started.batch)))
        if run.next is not None and run.next.stage is Stage.CONSENT:
            self._approve(run)
        return self._swapped(run_id)

    def _batch(self, fingerprint: Fingerprint) -> Batch:
        """The sealed batch of a fingerprint, sealed now unless it is."""
        for row in self.wired.store.batches(BatchState.SEALED):
            if row.label == fingerprint and (batch := self.wired.store.batch(row.id)) is not None:
                return batch
        return self.wired.curator.seal(str(fingerprint))

    async def _told(self, run_id: RunId, batch: Batch | None) -> Run:
        """Drives the run until it waits or ends, and prints each entry of its journal once."""
        told = 0
        run: Run | None = None
        while True:
            tick = await self.wired.controller.tick(run_id)
            for entry in self.wired.store.entries(run_id, told):
                event = read_event(entry.event)
                run = begin(event, entry.at) if run is None else apply(run, event, entry.at)  # type: ignore[arg-type]
                told = entry.seq
                for text in screen.step_lines(run, event, batch):
                    say(text)
            if run is None:
                raise UserError(f"run {run_id} has no journal")
            if tick.idle is Idle.TAKEN:
                await asyncio.sleep(TAKEN_PAUSE)
                continue
            if tick.idle is not None or run.outcome is not None:
                return run
            if run.next is not None and run.next.stage is Stage.PREFLIGHT:
                return run

    def _approve(self, run: Run) -> None:
        assert run.statement is not None
        say(screen.line("consent", f"wanted: moss approve {run.id}          (the demo signs with its own key)", 2))
        self.wired.desk.approve(load_key(APPROVER, self.keys).sign(run.statement))

    def _swapped(self, run_id: RunId) -> Run:
        """The swap, while customers send without pause."""
        store = self.wired.store
        run = load(store, run_id)
        before = self.sums.sent, self.sums.again
        if run.outcome is None:
            self._warm()
            with traffic.Steady("127.0.0.1", self.shop.port, "steady", 4, first=self._first()) as steady:
                time.sleep(0.3)
                run = asyncio.run(self._driven(run_id))
                time.sleep(0.3)
            self.sums.add(steady.tally())
        if run.swap is None:
            say(screen.line("ended", f"{run.outcome}: {run.because}", 2))
            return run
        events = [(read_event(entry.event), entry.at) for entry in store.entries(run_id)]
        say(screen.line("swap", screen.swap_line(events, run.swap), 2))
        for last in screen.last_words(events):
            say(last)
        sent, again = self.sums.sent - before[0], self.sums.again - before[1]
        words = [f"{run.swap.refused} messages refused", f"{self.sums.lost} lost"]
        words += [f"{again} answered with an error by the dying version and sent again"] if again else []
        words += [f"longest wait {self.sums.longest_wait:.1f} s, while {sent} were sent"] if sent else []
        say(screen.line("", ", ".join(words), 2))
        say("")
        return run

    async def _driven(self, run_id: RunId) -> Run:
        while True:
            tick = await self.wired.controller.drive(run_id)
            if tick.idle is not Idle.TAKEN:
                return load(self.wired.store, run_id)
            await asyncio.sleep(TAKEN_PAUSE)

    def _warm(self) -> None:
        """The steady customers' conversations get long enough for the second story."""
        turns = self._turns()
        for customer in range(1, 5):
            session = f"steady-{customer}"
            for number in range(turns[session], OLD_TURNS):
                words = traffic.STEADY[number % len(traffic.STEADY)].format(id=f"warm-{customer}-{number + 1}")
                traffic.send("127.0.0.1", self.shop.port, session, words)

    def _first(self) -> int:
        """A number above all message ids that were used before."""
        turns = self._turns()
        return 1 + max(turns[f"steady-{customer}"] for customer in range(1, 5))

    # ------------------------------------------------------------------ the end

    def verdict(self, runs: dict[str, Run]) -> int:
        """The last line, and the exit code."""
        missing = traffic.missing(self.state, self.sums.acknowledged)
        broken = self.wired.store.verify()
        ok = (
            {name: run.outcome for name, run in runs.items()} == WANTED
            and not missing
            and not any((self.sums.refused, self.sums.failed, self.sums.lost))
            and all(run.swap is not None and run.swap.refused == 0 for run in runs.values())
            and broken is None
        )
        moss = f".venv/bin/moss --home {os.path.relpath(self.shop.root)}"
        if ok:
            say("ev-01 mended the double refund and stayed. ev-02 passed its trials, died under real conversations")
            say("(it was made so), and the version before it serves again.")
        say("The clerk goes on running: make demo-down ends it.")
        for because in (unlike := differs(runs)):
            say(because)
        if unlike:
            say(self.anew)
        say(f"Look around: {moss} status · {moss} show ev-01 · {moss} log ev-02 · {moss} rollback")
        lost = [f"{message}: answered, and in no conversation of the clerk" for message in missing]
        for trouble in [*self.sums.troubles, *lost][:5]:
            say(f"  not as it should be: {trouble}")
        last = {
            "demo": "ok" if ok else "failed",
            "runs": {name: str(run.outcome) for name, run in runs.items()},
            "refused": self.sums.refused,
            "failed": self.sums.failed,
            "lost": self.sums.lost + len(missing),
            "sent": self.sums.sent,
            "longest_wait": self.sums.longest_wait,
            "journal": "whole" if broken is None else f"broken at {broken.run} {broken.seq}",
            "scripted": list(runs["ev-01"].started.scripted),
            **({"because": unlike} if unlike else {}),
        }
        print(json.dumps(last), flush=True)
        return 0 if ok else 1

    def tell(self) -> int:
        say(self.head)
        self.start()
        if (before := self._over()) is not None:
            say(f"This demo was already done ({date(max(run.updated for run in before.values()))}); what it showed:")
            for run in before.values():
                say(f"  {run.id}  {run.outcome}: {run.because}")
            say("See it again step by step with `show` and `log`, below.")
            if not differs(before):
                say(self.anew)
            say("")
            return self.verdict(before)
        self.day()
        self.evidence()
        runs = {}
        for number, (fingerprint, script) in enumerate(STORIES, 1):
            run_id = RunId(f"ev-{number:02d}")
            runs[str(run_id)] = self.run(run_id, fingerprint, script)
        return self.verdict(runs)

    def _over(self) -> dict[str, Run] | None:
        """The runs of a demo that was done before this one began; None while one of them has not ended."""
        store = self.wired.store
        if any((row := store.run(RunId(name))) is None or row.outcome is None for name in WANTED):
            return None
        return {name: load(store, RunId(name)) for name in WANTED}

    def down(self) -> None:
        """Ends the clerk, its supervisor, the hold proxy and the gateway."""
        self.wired.stop_gateway()
        self.wired.process_target.shut_down()


def differs(runs: dict[str, Run]) -> list[str]:
    """A sentence for each run that did not end as the demo means it to."""
    said = []
    for name, run in runs.items():
        if run.outcome is Outcome.REVERTED:
            said.append(f"{name} was taken back later with moss rollback: the clerk is again as it was before it.")
        elif run.outcome is not WANTED[name]:
            said.append(f"{name} ended {run.outcome} and not {WANTED[name]}: {run.because}")
    return said


def say(text: str) -> None:
    print(text, flush=True)


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main(words: Sequence[str] | None = None, tale: type[Demo] = Demo, folder: str = ".demo") -> int:
    parser = argparse.ArgumentParser(prog="demo", description="The whole of MOSS on a small real agent.")
    parser.add_argument("--folder", type=Path, default=Path(folder))
    parser.add_argument("--down", action="store_true", help="end the demo's processes and remove its folder")
    given = parser.parse_args(words)
    signal.signal(signal.SIGTERM, _interrupted)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if given.down and not given.folder.exists():
        return 0
    if not given.down:
        tale.demand()
    demo = tale(given.folder)
    if given.down:
        demo.down()
        shutil.rmtree(given.folder, ignore_errors=True)
        shutil.rmtree(demo.keys, ignore_errors=True)
        return 0
    return demo.tell()


def told(tale: type[Demo], folder: str) -> int:
    """As a program: its exit code, every end in a sentence."""
    try:
        return main(None, tale, folder)
    except MossError as error:
        print(f"moss: {error}", file=sys.stderr)
        if mend := getattr(error, "mend", None):
            print(f"      mend: {mend}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted: nothing is lost, `{tale.command}` goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(told(Demo, ".demo"))
