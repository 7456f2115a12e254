"""Owns a whole clerk under MOSS for one test file: workshop, gateway, live agent behind the proxy, an approver's key.

Candidates are made by editing the source in a commit of its own; a run that offers one is written as the journal
would have it, so that a test of the swap need not pay for trials. Invariant: `close` leaves no process behind.
"""

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import psutil

from examples.clerk import traffic
from examples.clerk.workshop import Workshop, lay_out
from moss.adapters.builders.checkout import image_tree
from moss.domain.batch import Batch, GroupBy
from moss.domain.case import Case, CaseKind, Keypoint, Silent, Status
from moss.domain.consent import Statement
from moss.domain.events import (
    BaselineResult,
    BuildResult,
    ImplementResult,
    Outcome,
    Result,
    Stage,
    Started,
    Step,
    StepDone,
    SwapResult,
    VerdictAsked,
    Version,
    read_event,
)
from moss.domain.evidence import Failure, Finding, Observed, ToolCall, Turn
from moss.domain.ids import CaseId, CommitId, Digest, Fingerprint, Key, RunId
from moss.domain.run import Run, apply, begin
from moss.domain.swap import Phase, PhaseResult
from moss.domain.verdict import Next, Verdict, VerdictKind
from moss.engine.desk import Wish
from moss.engine.journal import append, load
from moss.hold.client import HoldClient
from moss.keys import PrivateKey, load_key, new_key
from moss.ports import Clock, Image, Readiness
from moss.settings import load as load_settings
from moss.wiring import SystemClock, Wiring

HERE = Path(__file__).parent
APPROVER = "tess"
REFUNDED_TWICE = "ledger audit: order 1005 refunded 2 times"
QUICK = (
    "watch_seconds = 3 -> watch_seconds = 1",
    "start_seconds = 10 -> start_seconds = 4",
    "grace_seconds = 10 -> grace_seconds = 2",
)
"""the clerk's own settings, shortened: what they say is the same"""


@dataclass(frozen=True, slots=True)
class Candidate:
    commit: CommitId
    image: Image
    diff: Digest


class Scene:
    """One workshop. `wired` is the controller's side; `rewire` reads the settings again, with others on top."""

    def __init__(self, root: Path, *more: str, python: str = sys.executable) -> None:
        self.root = root.resolve()
        self.key = _key(self.root.with_name(self.root.name + "-keys"))
        approvers = f'\n[consent]\napprovers = [{{ name = "{APPROVER}", public_key = "{self.key.public.text}" }}]\n'
        self.shop: Workshop = lay_out(self.root, approvers=approvers, more=(*QUICK, *more), python=python)
        self._numbers = count(1)
        self._senders = count(1)
        self.rewire()
        self.wired.start_gateway()
        self.base = self.wired.install(self.wired.source.resolve("HEAD"))
        self.until_ready()

    def rewire(self, clock: Clock | None = None, **overrides: object) -> None:
        """`swap__watch_seconds=6` is `swap.watch_seconds`. Without any, the settings are those of the file again."""
        said = {name.replace("__", "."): value for name, value in overrides.items()}
        self.wired = Wiring(load_settings(self.shop.toml, self.env, said), dict(os.environ), clock or SystemClock())

    @property
    def env(self) -> dict[str, str]:
        return {"MOSS_HOME": str(self.root)}

    def until_ready(self) -> None:
        wait_until(lambda: self.wired.target.probe().readiness is Readiness.READY, 20)

    def at_rest(self) -> None:
        """Between two tests of one file: the file's own settings, nothing held, the base serves."""
        self.rewire()
        if held := self.hold.status().held:
            self.hold.release(held)
        target = self.wired.process_target
        if target.current().image.digest != self.base.digest or not target.current().running:
            target.stop(Key("at-rest"), target.current().image.digest)
            target.install(self.base)
        try:
            self.until_ready()
        except AssertionError:
            self.start_over()  # the test before failed and left a state that the base does not read

    def start_over(self) -> None:
        """The base on an empty state."""
        target = self.wired.process_target
        target.stop(Key("start-over"), target.current().image.digest)
        shutil.rmtree(self.shop.state)
        target.install(self.base)
        self.until_ready()

    def kill_agent(self) -> None:
        """`kill -9` of the live agent."""
        agent = self.wired.process_target.home.read().agent
        assert agent is not None
        assert agent.pid is not None
        os.kill(agent.pid, signal.SIGKILL)

    def close(self) -> None:
        self.rewire()
        self.wired.process_target.shut_down()
        self.wired.stop_gateway()
        for box in self.wired.boxes.list():
            self.wired.boxes.remove(box.key)

    # ------------------------------------------------------------------ candidates

    def candidate(self, edits: Mapping[str, str | tuple[str, str]]) -> Candidate:
        """A commit on top of the base and its image. An edit is a whole text, or (found once, replaced by)."""
        tree = self.root.with_name(f"{self.root.name}-tree-{next(self._numbers)}")
        source, base = self.wired.source, self.base.commit
        assert base is not None
        source.export(base, tree)
        for path, edit in edits.items():
            _edit(tree / path, edit)
        patch = source.diff(base, tree)
        shutil.rmtree(tree)
        commit = source.commit(patch, "a candidate", Key(f"e2e/{tree.name}"))
        return Candidate(commit, self.wired.image_of(commit), self.wired.store.put(patch.text, "patch"))

    def drop_image(self, image: Image) -> None:
        shutil.rmtree(image_tree(self.root, image.digest).parent)

    # ------------------------------------------------------------------ runs

    def offer(self, candidate: Candidate) -> Run:
        """A run over a batch of one failure that waits for consent, as its journal would have come to be."""
        store, at = self.wired.store, datetime.now(UTC)
        run = self.wired.desk.start(self._batch(at).id, Wish(by=APPROVER))
        version = Version(commit=candidate.commit, image=candidate.image.digest, name=candidate.image.name)
        made = ImplementResult(commit=candidate.commit, diff=candidate.diff, files=1, added=1)
        locate, consent = (Step(stage=stage, iteration=1) for stage in (Stage.LOCATE, Stage.CONSENT))
        for stage, result, following in (
            (Stage.BASELINE, BaselineResult(ran=0), locate),
            (Stage.IMPLEMENT, made, Step(stage=Stage.BUILD, iteration=1)),
            (Stage.BUILD, BuildResult(version=version), Step(stage=Stage.VERDICT, iteration=1)),
        ):
            run = append(store, run, _done(run, stage, result, following), at, None)
        verdict = Verdict(
            iteration=1,
            row=3,
            kind=VerdictKind.CONVERGED,
            next=Next.CONSENT,
            reason="fixed",
            chosen=1,
            fixed=run.started.cases,
        )
        offered = _done(run, Stage.VERDICT, VerdictAsked(), consent).model_copy(
            update={"verdict": verdict, "statement": self._statement(run, candidate, at)}
        )
        return append(store, run, offered, at, None)

    def _statement(self, run: Run, candidate: Candidate, at: datetime) -> Statement:
        started = run.started
        return Statement(
            substrate=started.substrate,
            run=run.id,
            base=started.base.image,
            candidate=candidate.image.digest,
            diff=candidate.diff,
            evidence=started.evidence,
            policy=started.policy,
            expires=at.replace(microsecond=0) + timedelta(hours=1),
        )

    def _batch(self, at: datetime) -> Batch:
        """One failure of the past, sealed."""
        store, number = self.wired.store, next(self._numbers)
        row = ToolCall(name="refund", arguments='{"order":"1005"}', result="{}", error=REFUNDED_TWICE)
        turn = Turn(session=f"past-{number}", ordinal=1, at=at, user="Refund order 1005", reply="Done.", tools=(row,))
        finding = Finding(detector="refund-twice", fingerprint=Fingerprint("refund-twice"), quote=REFUNDED_TWICE)
        failure = Failure(id=turn.id, fingerprint=finding.fingerprint, turn=turn, findings=(finding,))
        store.save_scan("e2e", [failure], [], [], [], at)
        status = Keypoint(id="ok", says="answered", check=Status(), positive=True, observed=Observed.HTTP)
        silent = Silent(detector="refund-twice")
        quiet = Keypoint(id="quiet", says="no audit", check=silent, positive=False, observed=Observed.TRANSCRIPT)
        case = Case(
            id=CaseId("refund-twice-1"),
            kind=CaseKind.FAILURE,
            source=turn.id,
            fingerprint=finding.fingerprint,
            turn=turn,
            findings=(finding,),
            keypoints=(status, quiet),
        )
        batch = Batch(
            id=store.new_batch_id(),
            substrate="clerk",
            group_by=GroupBy.FINGERPRINT,
            label="refund-twice",
            sealed_at=at,
            cases=(case,),
        )
        store.seal(batch)
        return batch

    def approved(self, candidate: Candidate) -> Run:
        """Offered, and the approver has said yes: preflight is next."""
        run = self.offer(candidate)
        assert run.statement is not None
        return self.wired.desk.approve(self.key.sign(run.statement))

    def run(self, run: RunId) -> Run:
        return load(self.wired.store, run)

    def drive(self, run: RunId) -> Run:
        """Until it waits or has ended, by a controller in this process."""
        asyncio.run(self.wired.controller.drive(run))
        return self.run(run)

    def drive_to(self, run: RunId, phase: Phase) -> Run:
        """Until `phase` is the next thing to do."""
        for _ in range(200):
            now = self.run(run)
            if now.outcome is not None or (now.swap is not None and now.swap.phase is phase):
                break
            asyncio.run(self.wired.controller.tick(run))
        assert now.swap is not None, now.because
        assert now.swap.phase is phase, now.because
        return now

    def drive_on(self, run: RunId, seconds: float) -> Run:
        """Until it has ended, also when another controller's claim has to run out first."""
        wait_until(lambda: self.drive(run).outcome is not None, seconds)
        return self.run(run)

    @contextmanager
    def other_controller(self, run: RunId, **overrides: float) -> Iterator[subprocess.Popen[bytes]]:
        """A controller in a process of its own; it is gone when the body is over."""
        words = [f"{name.replace('__', '.')}={value}" for name, value in overrides.items()]
        argv = [sys.executable, str(HERE / "controller.py"), str(self.root), run, *words]
        env = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
        with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.kill()

    @property
    def hold(self) -> HoldClient:
        return HoldClient(self.wired.process_target.options.folder)

    @contextmanager
    def customers(self, count: int = 4) -> Iterator[traffic.Steady]:
        """Customers who send without pause; the body runs after each of them was answered once."""
        name = f"c{next(self._senders)}"
        with traffic.Steady("127.0.0.1", self.shop.port, name, count) as steady:
            wait_until(lambda: steady.tally().answered >= count, 20)
            yield steady

    # ------------------------------------------------------------------ what it came to

    def phases(self, run: RunId) -> list[tuple[Phase, PhaseResult]]:
        """The phases of the run's swaps in the order they were performed."""
        found = []
        first, *rest = self.wired.store.entries(run)
        started = read_event(first.event)
        assert isinstance(started, Started)
        now = begin(started, first.at)
        for entry in rest:
            event = read_event(entry.event)
            if isinstance(event, StepDone) and isinstance(event.result, SwapResult):
                assert now.swap is not None
                found.append((now.swap.phase, event.result.phase))
            now = apply(now, event, entry.at)  # type: ignore[arg-type]
        return found

    def failed_at(self, run: RunId) -> Phase:
        """The first phase of the swap that went wrong."""
        return next(phase for phase, result in self.phases(run) if not result.ok)

    def serves(self, image: Image) -> None:
        """Asserts that `image` serves users, not held, and comes back by itself when it ends."""
        target = self.wired.process_target
        assert target.current().image.digest == image.digest
        assert target.probe().readiness is Readiness.READY
        assert target.home.read().restart == "always"
        assert self.hold.status().held is None
        answer = traffic.send("127.0.0.1", self.shop.port, f"after-{next(self._senders)}", "Where is order 1003?", 10)
        assert answer.status == 200, answer

    def ended(self, run: Run, outcome: Outcome, because: str) -> None:
        """Asserts how it ended, that the journal says why and is whole, and that no box is left."""
        assert (run.outcome, run.because) == (outcome, run.because)
        assert because in run.because
        assert self.wired.store.verify() is None
        assert not self.wired.boxes.list(run.id)

    def unharmed(self, run: Run, tally: traffic.Tally, *, told: int = 0) -> None:
        """Asserts that the base serves, that nobody was refused and nothing that was answered is gone.

        `told`: how many messages at most were in flight when a candidate died under them; their senders were told.
        """
        self.serves(self.base)
        assert (tally.refused, tally.lost) == (0, 0), tally.troubles
        assert tally.failed <= told, tally.troubles
        assert all(" 502 " in trouble and "was not sent again" in trouble for trouble in tally.troubles)
        assert self.gone(run, tally) == []
        assert run.swap is None or run.swap.refused == 0

    def gone(self, run: Run, tally: traffic.Tally) -> list[str]:
        """Messages that were answered and are not in the state. Asserts that the journal names each of them."""
        missing = traffic.missing(self.shop.state, tally.acknowledged)
        named = {(words[0], words[-1]) for words in (name.split() for name in (run.swap.lost if run.swap else ()))}
        for message in missing:
            session, _, number = message.rpartition("-")
            said = traffic.STEADY[int(number) % len(traffic.STEADY)].format(id=message)
            sha = hashlib.sha256(traffic.body_of(session, said)).hexdigest()[:12]
            assert (session, sha) in named, f"{message} is gone and not named"
        return missing


def _done(run: Run, stage: Stage, result: Result, following: Step) -> StepDone:
    step = Step(stage=stage, iteration=0 if stage is Stage.BASELINE else 1)
    return StepDone(step=step, key=step.key(run.id), result=result, next=following, says="as in the real thing")


def _edit(path: Path, edit: str | tuple[str, str]) -> None:
    if isinstance(edit, str):
        path.write_text(edit)
        return
    text = path.read_text()
    assert text.count(edit[0]) == 1, (path, edit[0])
    path.write_text(text.replace(*edit))


def _key(folder: Path) -> PrivateKey:
    if not folder.exists():
        new_key(APPROVER, folder)
    return load_key(APPROVER, folder)


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, f"not so after {seconds:g} s"
        time.sleep(0.02)


def left_of(root: Path) -> list[str]:
    """Processes that have to do with a folder: by their words, their folder or their environment."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            words = [*process.cmdline(), process.cwd(), *process.environ().values()]
        except (psutil.Error, OSError):
            continue
        if any(str(root) in word for word in words):
            found.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
    return found


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
