"""Owns the choice of adapters: the only place that turns settings into parts. Never does the work of one.

The environment is read here, once. Heavy modules are imported in the function that needs them, so that `moss --help`
and `moss status` start fast. Invariant: every secret is resolved from its reference at the last moment and handed
only to the part that needs it.
"""

import hmac
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from moss import config
from moss.config import ExecTurn, HttpTurn, JurorSettings, OpenAiTurn, RoleSettings, Secret, Settings, Upstream
from moss.domain.detect import Detectors
from moss.domain.ids import CommitId, Digest, Key, RunId
from moss.domain.redact import Redactor
from moss.domain.source_secrets import source_secrets
from moss.engine.parts import Parts
from moss.errors import UserError
from moss.gateway.home import salt_of
from moss.ports import (
    Boxes,
    Clock,
    CodingAgent,
    EvidenceSource,
    GatewayMode,
    Grant,
    Image,
    ImageBuilder,
    InstalledTarget,
    Judge,
    Notifier,
    Source,
    Store,
    TurnDriver,
)
from moss.settings import resolve

if TYPE_CHECKING:
    from moss.adapters.targets.docker.target import DockerTarget
    from moss.adapters.targets.process.target import ProcessTarget
    from moss.engine.controller import Controller
    from moss.engine.curator import Curator
    from moss.engine.desk import Desk
    from moss.gateway.client import HttpGateway
    from moss.gateway.config import GatewayConfig

LIVE_KEY = Key("live")
"""the gateway account of the live agent"""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass(frozen=True)
class Wiring:
    """The parts of one home, each made when it is first asked for. `env` is this process's environment."""

    settings: Settings
    env: Mapping[str, str]
    clock: Clock = field(default_factory=SystemClock)

    @property
    def home(self) -> Path:
        return self.settings.home

    @cached_property
    def store(self) -> Store:
        from moss.adapters.stores.sql import SqlStore

        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return SqlStore.open(self.home, self.clock)

    @cached_property
    def redactor(self) -> Redactor:
        return Redactor(salt_of(self.home), self.settings.evidence.redact)

    @cached_property
    def detectors(self) -> Detectors:
        return Detectors(self.settings.evidence.builtin, self.settings.evidence.rules)

    @cached_property
    def boxes(self) -> Boxes:
        spare = self.settings.retention.free_bytes
        match self.settings.boxes:
            case config.ProcessBoxes() as settings:
                from moss.adapters.boxes.process import ProcessBoxes

                return ProcessBoxes(self.home, settings, self._tree, spare)
            case config.DockerBoxes() as settings:
                from moss.adapters.boxes.docker import DockerBoxes

                trees = self._tree if isinstance(self.settings.build, config.CheckoutBuild) else None
                return DockerBoxes(self.home, settings, self.settings.gateway.port, spare, trees)

    def _tree(self, digest: Digest) -> Path:
        from moss.adapters.builders.checkout import image_tree

        return image_tree(self.home, digest)

    @cached_property
    def builder(self) -> ImageBuilder:
        spare = self.settings.retention.free_bytes
        match self.settings.build:
            case config.CheckoutBuild() as settings:
                from moss.adapters.builders.checkout import CheckoutBuilder

                return CheckoutBuilder(self.home, settings, self.boxes, spare)
            case config.DockerBuild() as settings:
                from moss.adapters.builders.docker import DockerBuilder

                logins = self.settings.path(settings.logins) if settings.logins else None
                return DockerBuilder(self.home, settings, self.boxes, self._build_secrets, logins, spare)

    def _build_secrets(self) -> dict[str, str]:
        secrets = self.settings.build.secrets if isinstance(self.settings.build, config.DockerBuild) else {}
        return {name: resolve(secret, self.env) for name, secret in secrets.items()}

    @cached_property
    def source(self) -> Source:
        from moss.adapters.source.git import GitSource

        substrate = self.settings.substrate
        return GitSource(self.home, self.settings.path(substrate.source), substrate.name)

    @cached_property
    def gateway(self) -> "HttpGateway":
        from moss.gateway.client import HttpGateway

        return HttpGateway(self.home)

    @cached_property
    def turns(self) -> TurnDriver:
        from moss.adapters.turns.exec import ExecDriver
        from moss.adapters.turns.http import HttpDriver
        from moss.adapters.turns.openai import OpenAiDriver

        turn, health = self.settings.turn, self.settings.health
        match turn:
            case OpenAiTurn():
                return OpenAiDriver(turn, resolve(turn.key, self.env) if turn.key else None, health)
            case HttpTurn():
                return HttpDriver(turn, resolve(turn.key, self.env) if turn.key else None, health)
            case ExecTurn():
                return ExecDriver(turn, None, health, self.boxes)

    @cached_property
    def evidence(self) -> EvidenceSource:
        match self.settings.evidence.source:
            case config.JsonlEvidence() as settings:
                from moss.adapters.evidence.jsonl import JsonlSource

                return JsonlSource(settings, self.redactor)
            case config.HermesEvidence() as settings:
                from moss.adapters.evidence.hermes import HermesSource

                return HermesSource(settings, self.redactor, self.home / "work" / "evidence", self.clock.now)

    @property
    def target(self) -> InstalledTarget:
        return self.process_target if isinstance(self.settings.live, config.ProcessLive) else self.docker_target

    @property
    def state(self) -> Path:
        """The live state, as far as it may be read from this host. Raises: TargetDown."""
        return self.settings.state or self.target.evidence_root()

    @cached_property
    def process_target(self) -> "ProcessTarget":
        from moss.adapters.targets.process.target import ProcessTarget

        return ProcessTarget(self.home, self.settings, self.turns, self._tree, self.live_access)

    @cached_property
    def docker_target(self) -> "DockerTarget":
        from moss.adapters.targets.docker.target import DockerTarget

        return DockerTarget(self.home, self.settings, self.turns, self.live_access)

    def live_access(self) -> tuple[str, str]:
        """The gateway's URL and the live agent's own token. Raises: GatewayDown."""
        from moss.ports import BoxRole

        upstreams = self.settings.gateway.upstream_names
        grant = Grant(LIVE_KEY, RunId("live"), "live", GatewayMode.RECORD, upstreams, seconds=None)
        return self.gateway.url(BoxRole.TRIAL), self.gateway.open(grant)

    def coder(self, role: RoleSettings) -> CodingAgent:
        """The program of a role. Raises: UserError."""
        if role.coder != "scripted":
            raise UserError(
                f"there is no coding agent `{role.coder}`", where="moss.toml roles", mend="one of: scripted"
            )
        if role.script is None:
            raise UserError("the scripted coder needs a `script`", where="moss.toml roles")
        from moss.adapters.coders.scripted import ScriptedCoder

        calls = self.env.get("MOSS_SCRIPTED_CALLS")
        # as the box knows it: in a container, this process's own interpreter is not there
        inside = isinstance(self.settings.boxes, config.DockerBoxes)
        python = "python3" if inside else sys.executable
        return ScriptedCoder(self.settings.path(role.script), Path(calls) if calls else None, python, told=inside)

    @cached_property
    def judges(self) -> tuple[Judge, ...]:
        from moss.adapters.judges.scripted import ScriptedJudge

        return tuple(ScriptedJudge(one.name, self.settings.path(script_of(one))) for one in self.settings.jurors)

    @cached_property
    def notifiers(self) -> tuple[Notifier, ...]:
        from moss.adapters.notify.webhook import Webhook

        return tuple(
            Webhook(hook.url, resolve(hook.secret, self.env).encode(), self.clock) for hook in self.settings.notify
        )

    @cached_property
    def parts(self) -> Parts:
        from moss.keys import verify

        return Parts(
            settings=self.settings,
            clock=self.clock,
            store=self.store,
            source=self.source,
            builder=self.builder,
            boxes=self.boxes,
            target=self.target,
            gateway=self.gateway,
            turns=self.turns,
            evidence=self.evidence,
            coder=self.coder,
            redact=self.redactor.clean,
            secrets_in=source_secrets,
            verify=verify,
            judges=self.judges,
            notifiers=self.notifiers,
            keyed=lambda words: hmac.digest(salt_of(self.home), f"session {words}".encode(), "sha256"),
            free_bytes=lambda: shutil.disk_usage(self.home).free,
        )

    # ------------------------------------------------------------------ what the engine is made of

    @cached_property
    def desk(self) -> "Desk":
        from moss.engine.desk import Desk

        return Desk(self.parts)

    @cached_property
    def curator(self) -> "Curator":
        from moss.engine.curator import Curator

        return Curator(self.parts, self.detectors)

    @cached_property
    def controller(self) -> "Controller":
        from moss.engine.build import Building
        from moss.engine.coding import CodingRunner
        from moss.engine.controller import Controller
        from moss.engine.perform import Performer
        from moss.engine.preflight import Preflight
        from moss.engine.soak import Soak
        from moss.engine.stages import Minds
        from moss.engine.swapper import Swapper
        from moss.engine.trial_run import TrialRun
        from moss.engine.trials import Trials

        parts = self.parts
        upstreams = self.settings.gateway.upstream_names
        runner = CodingRunner(self.boxes, self.gateway, self.store, self.clock, self.redactor.clean, upstreams)
        performer = Performer(
            parts,
            Minds(parts, runner),
            Building(parts),
            Trials(parts, TrialRun(parts, self.detectors)),
            Preflight(parts),
            Swapper(parts),
            Soak(parts),
        )
        return Controller(parts, performer, owner_name())

    # ------------------------------------------------------------------ what runs beside the controller

    def start_gateway(self) -> None:
        """The gateway runs; silent where it does. Raises: GatewayDown."""
        from moss.gateway.launch import start

        start(self.home, gateway_config(self.settings), self.env)

    def stop_gateway(self) -> None:
        from moss.gateway.launch import stop

        stop(self.home)

    def keep_alive(self) -> None:
        """The gateway and the live agent's supervisor and hold proxy run; silent where they do."""
        self.start_gateway()
        self.target.keep_alive()

    def image_of(self, commit: CommitId) -> Image:
        """The image of a commit, built if it is not there. Raises: BuildFailed, BuildBroken, NoSpace."""
        folder = self.home / "work" / "adopt" / commit
        self.source.export(commit, folder)
        name = f"{self.settings.substrate.name}:{commit[:7]}"
        try:
            return self.builder.build(folder, commit, name, Key(f"adopt/{commit}"), self.home / "log" / "adopt.log")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def install(self, commit: CommitId) -> Image:
        """The live agent's first start under MOSS, at a commit. Raises: NotExpected, BuildFailed, TargetDown."""
        image = self.image_of(commit)
        self.target.install(image)
        return image


def script_of(juror: JurorSettings) -> Path:
    """Raises: UserError for a juror that this version cannot ask."""
    if juror.kind != "scripted" or juror.script is None:
        where = f"moss.toml jurors `{juror.name}`"
        raise UserError("only scripted jurors with a `script` work in this version", where=where, mend="take it out")
    return juror.script


def owner_name() -> str:
    """This process, as claims name it."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def gateway_config(settings: Settings) -> "GatewayConfig":
    """What the gateway's process is told."""
    from moss.gateway.config import GatewayConfig

    gateway = settings.gateway
    return GatewayConfig(
        host=gateway.host,
        port=gateway.port,
        upstreams=tuple(_upstream(settings, upstream) for upstream in gateway.upstreams),
        volatile=gateway.volatile,
        artifacts=(settings.home / "artifacts").resolve(),
        redact=settings.evidence.redact,
        prices=settings.path(gateway.prices).resolve() if gateway.prices else None,
    )


def _upstream(settings: Settings, upstream: Upstream) -> Upstream:
    """The upstream with its paths made absolute."""
    update: dict[str, object] = {}
    if upstream.script is not None:
        update["script"] = settings.path(upstream.script).resolve()
    if upstream.key is not None and upstream.key.file is not None:
        update["key"] = Secret(file=settings.path(upstream.key.file).resolve())
    return upstream.model_copy(update=update)
