"""Owns a whole MOSS out of fakes: the engine's `Parts` around a puppet, so that tests walk whole runs in milliseconds.

For tests of the engine and for authors of plug-ins: exchange one part of `Workbench.parts` for the adapter at hand.
Nothing but files below the given folder is touched. Invariant: which case a version passes is told by its source.
"""

import asyncio
import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from moss.config import (
    Approver,
    CanarySettings,
    ConsentSettings,
    GatewaySettings,
    ProcessLive,
    RetentionSettings,
    RoleSettings,
    Settings,
    SubstrateSettings,
    SwapSettings,
    Upstream,
)
from moss.domain.batch import Batch, GroupBy
from moss.domain.case import Case, CaseKind, Contains, Keypoint
from moss.domain.consent import Consent
from moss.domain.depth import Depth
from moss.domain.detect import Detectors
from moss.domain.evidence import Failure, Finding, Observed, Turn
from moss.domain.ids import ApproverName, BatchId, CaseId, Digest, Fingerprint, Key, RunId
from moss.domain.run import Run
from moss.domain.source_secrets import source_secrets
from moss.engine.build import Building
from moss.engine.coding import CodingRunner
from moss.engine.controller import Controller
from moss.engine.desk import Desk, Wish
from moss.engine.journal import load
from moss.engine.parts import Parts
from moss.engine.perform import Performer
from moss.engine.preflight import Preflight
from moss.engine.soak import Soak
from moss.engine.stages import Minds
from moss.engine.swapper import Swapper
from moss.engine.trial_run import TrialRun
from moss.engine.trials import Trials
from moss.gateway.script import Script, ScriptRule
from moss.keys import PrivateKey, PublicKey, verify
from moss.ports import Box, BoxSpec, Image, ImageBuilder, Judge, Store
from moss.testing.boxes import FakeBoxes
from moss.testing.builders import FakeBuilder
from moss.testing.clock import ManualClock
from moss.testing.gateways import MemoryGateway, RealModel
from moss.testing.puppet import BAD, FIRST, GOOD, Attempt, PuppetCoder, first_tree, programs, smoke
from moss.testing.puppet_world import PuppetEvidence, PuppetTarget, PuppetTurns
from moss.testing.sources import FolderSource
from moss.testing.stores import MemoryStore

STEP = 0.01
"""seconds that go by at each look at the monotonic clock"""
BATCH = BatchId("b-01")


class RunningClock(ManualClock):
    """A clock that goes on a little whenever somebody measures time: a wait for a deadline ends by itself."""

    def monotonic(self) -> float:
        self.tick(STEP)
        return super().monotonic()


def approver(name: str = "alice") -> PrivateKey:
    """The same key for the same name. For tests only."""
    secret = Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"-")[:32])
    public = base64.b64encode(secret.public_key().public_bytes_raw()).decode()
    return PrivateKey(PublicKey(ApproverName(name), public), secret)


def bench_settings(root: Path, **change: Any) -> Settings:
    """Settings of a puppet: a short watch, no soak, one approver, nothing reserved that matters."""
    plain = Settings(
        root=root,
        home=root / "home",
        substrate=SubstrateSettings(name="puppet", check=("check", "{image}")),
        live=ProcessLive(
            argv=("puppet", "{image}"), env={"TOKEN": "{token}"}, port=1, state=root / "state", start_seconds=0.3
        ),
        canary=CanarySettings(message="ping"),
        gateway=GatewaySettings(upstreams=(Upstream(name="main", script=Path("model.json")),)),
        roles={"default": RoleSettings(coder="puppeteer")},
        consent=ConsentSettings(approvers=(Approver(name="alice", public_key=approver().public.text),)),
        swap=SwapSettings(watch_seconds=0.1, preflight_watch_seconds=0, soak_hours=0),
        retention=RetentionSettings(free_bytes=0),
    )
    return plain.model_copy(update=change)


def case(name: str, kind: CaseKind) -> Case:
    """A case that a puppet passes by its name. Its one keypoint is seen from outside."""
    point = Keypoint(id="says-so", says="it does it", check=Contains(text=GOOD), positive=True, observed=Observed.HTTP)
    turn = Turn(session=f"s-{name}", ordinal=1, at=datetime.fromisoformat("2026-11-25T11:00:00Z"), user=name, reply=BAD)
    fingerprint = Fingerprint("refuses") if kind is CaseKind.FAILURE else None
    return Case(id=CaseId(name), kind=kind, source=turn.id, fingerprint=fingerprint, turn=turn, keypoints=(point,))


def batch_of(cases: int, guards: int) -> Batch:
    return Batch(
        id=BATCH,
        substrate="puppet",
        group_by=GroupBy.FINGERPRINT,
        label="refuses",
        sealed_at=datetime.fromisoformat("2026-11-25T11:30:00Z"),
        cases=tuple(case(f"case-{number}", CaseKind.FAILURE) for number in range(1, cases + 1)),
        guards=tuple(case(f"guard-{number}", CaseKind.GUARD) for number in range(1, guards + 1)),
    )


def seal(store: Store, batch: Batch, at: datetime) -> None:
    """Failures into the pool and the batch over them, once."""
    if store.batch(batch.id) is not None:
        return
    finding = Finding(detector="refuses", fingerprint=Fingerprint("refuses"), quote=BAD)
    failures = [
        Failure(id=one.source, fingerprint=Fingerprint("refuses"), turn=one.turn, findings=(finding,))
        for one in batch.cases
    ]
    store.save_scan("puppet", failures, (), (), (), at, counted=100)
    store.seal(batch)


@dataclass
class Workbench:
    """All parts, and short ways to use them. A test scripts `attempts`, then calls `start`, `go`, `approve`."""

    parts: Parts
    coder: PuppetCoder
    clock: ManualClock
    batch: Batch
    paid: list[str] = field(default_factory=list)
    owner: str = "bench:1"

    # the fakes, by their own types

    @property
    def store(self) -> Store:
        return self.parts.store

    @property
    def target(self) -> PuppetTarget:
        assert isinstance(self.parts.target, PuppetTarget)
        return self.parts.target

    @property
    def boxes(self) -> FakeBoxes:
        assert isinstance(self.parts.boxes, FakeBoxes)
        return self.parts.boxes

    @property
    def builder(self) -> FakeBuilder:
        assert isinstance(self.parts.builder, FakeBuilder)
        return self.parts.builder

    @property
    def source(self) -> FolderSource:
        assert isinstance(self.parts.source, FolderSource)
        return self.parts.source

    @property
    def gateway(self) -> MemoryGateway:
        assert isinstance(self.parts.gateway, MemoryGateway)
        return self.parts.gateway

    @property
    def base(self) -> Digest:
        """The image of the first version."""
        return next(image.digest for image in self.parts.builder.list() if image.commit == FIRST)

    def attempts(self, *attempts: Attempt) -> "Workbench":
        """What the coding agent does in iteration 1, 2, ..."""
        self.coder.attempts = dict(enumerate(attempts, 1))
        return self

    def with_parts(self, **change: Any) -> "Workbench":
        """The same bench with other parts."""
        return replace(self, parts=replace(self.parts, **change))

    def with_settings(self, **change: Any) -> "Workbench":
        return self.with_parts(settings=self.parts.settings.model_copy(update=change))

    # the engine

    @property
    def desk(self) -> Desk:
        return Desk(self.parts)

    def performer(self) -> Performer:
        return performer_of(self.parts)

    def controller(self, owner: str | None = None, perform: Any = None, lease: float = 1e6) -> Controller:
        """A controller that performs for real (with fakes), unless `perform` is given."""
        return Controller(self.parts, perform or self.performer(), owner or self.owner, lease=lease)

    def start(self, **wish: Any) -> RunId:
        """A run over the bench's batch; depth light unless said otherwise."""
        return self.desk.start(self.batch.id, Wish(**{"by": "alice", "depth": Depth.LIGHT, **wish})).id

    def run(self, run: RunId) -> Run:
        return load(self.store, run)

    async def go(self, run: RunId) -> Run:
        """Until it waits or ended."""
        await self.controller().drive(run)
        return self.run(run)

    def consent(self, run: RunId, name: str = "alice") -> Consent:
        statement = self.run(run).statement
        assert statement is not None
        return approver(name).sign(statement)

    def approve(self, run: RunId, name: str = "alice") -> None:
        self.desk.approve(self.consent(run, name))

    async def whole(self, *attempts: Attempt, **wish: Any) -> Run:
        """From start to end, approved when it asks."""
        run = self.attempts(*attempts).start(**wish)
        if (await self.go(run)).outcome is None:
            self.approve(run)
            await self.go(run)
        return self.run(run)

    def go_on(self, run: RunId) -> Run:
        """`go` for tests without a loop of their own."""
        return asyncio.run(self.go(run))


def performer_of(parts: Parts, look: float = 0.0) -> Performer:
    """The engine's performer over any parts, without pauses between two looks."""
    upstreams = parts.settings.gateway.upstream_names
    runner = CodingRunner(parts.boxes, parts.gateway, parts.store, parts.clock, parts.redact, upstreams)
    detectors = Detectors(parts.settings.evidence.builtin, parts.settings.evidence.rules)
    return Performer(
        parts,
        Minds(parts, runner),
        Building(parts),
        Trials(parts, TrialRun(parts, detectors, look=look)),
        Preflight(parts, look=look),
        Swapper(parts, look=look),
        Soak(parts),
    )


SCRIPTED = Script(rules=(ScriptRule(text="ok"),))


def workbench(
    root: Path,
    *,
    cases: int = 3,
    guards: int = 3,
    model: Script | RealModel = SCRIPTED,
    judges: Sequence[Judge] = (),
    store: Callable[[ManualClock], Store] = MemoryStore,
    **change: Any,
) -> Workbench:
    """A bench below `root` with the first version live and a sealed batch. `change`: of the settings."""
    settings, clock = bench_settings(root, **change), RunningClock()
    paid: list[str] = []
    coder = PuppetCoder(paid.append)
    builder = FakeBuilder(root / "images", smoke)
    boxes = FakeBoxes(root / "boxes", programs(coder), builder.tree)
    source = FolderSource(root / "source")
    made = store(clock)
    gateway = MemoryGateway({"main": model}, clock.now, made.get)

    def spec_of(box: Box) -> BoxSpec:
        return next(spec for spec in reversed(boxes.launched) if spec.key == box.key)

    image = first_image(source, builder, root)
    folder = root / "live"
    folder.mkdir()
    target = PuppetTarget(image, builder.tree, clock.now, folder)
    turns = PuppetTurns(boxes, spec_of, target, builder.tree, gateway, clock.now)
    parts = Parts(
        settings=settings,
        clock=clock,
        store=made,
        source=source,
        builder=builder,
        boxes=boxes,
        target=target,
        gateway=gateway,
        turns=turns,
        evidence=PuppetEvidence(),
        coder=lambda role: coder,
        redact=lambda text: text,
        secrets_in=source_secrets,
        verify=verify,
        judges=tuple(judges),
    )
    bench = Workbench(parts, coder, clock, batch_of(cases, guards), paid)
    seal(made, bench.batch, clock.now())
    return bench


def first_image(source: FolderSource, builder: ImageBuilder, root: Path) -> Image:
    """The first version: committed, built."""
    tree = root / "first"
    first_tree(tree)
    source.add(FIRST, tree)
    return builder.build(tree, FIRST, "puppet:first", Key("adopt/first"), root / "first.log")
