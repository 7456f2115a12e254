"""Owns what a user may write in `moss.toml` and `MOSS_*`: one frozen, closed settings object.

Never opens anything but that file, never touches an engine. Secrets are references (environment or file), never values.
`kind` chooses an adapter (tagged unions). Paths are relative to the folder of `moss.toml`.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Tag, ValidationInfo, field_validator, model_validator

from moss.config_evidence import EvidenceSettings as EvidenceSettings
from moss.config_evidence import HermesEvidence as HermesEvidence
from moss.config_evidence import JsonlEvidence as JsonlEvidence
from moss.config_evidence import Rule as Rule
from moss.config_evidence import RuleKeypoint as RuleKeypoint
from moss.config_evidence import Word as Word
from moss.config_live import Argv as Argv
from moss.config_live import DockerLive as DockerLive
from moss.config_live import LiveSettings as LiveSettings
from moss.config_live import ProcessLive as ProcessLive
from moss.config_live import kind_or, state_folder
from moss.domain.budget import Budget
from moss.domain.case import OnDivergence
from moss.domain.consent import raw_key
from moss.domain.depth import Depth
from moss.domain.frozen import Frozen
from moss.domain.policy import SourcePolicy


class Secret(Frozen):
    """A secret by reference: exactly one of an environment variable or a file."""

    env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    file: Path | None = None

    @model_validator(mode="after")
    def _one(self) -> "Secret":
        if (self.env is None) == (self.file is None):
            raise ValueError("name either `env` or `file`")
        return self


class SubstrateSettings(SourcePolicy):
    """The agent under evolution: its source. Patterns (see `SourcePolicy`) are relative to `source`."""

    name: Word
    source: Path = Path(".")
    branch: str = "HEAD"
    check: tuple[str, ...] = Field((), description="the substrate's own tests, run in a box: argv; {image} is the tree")
    hidden: tuple[str, ...] = Field(
        ("graders/**",), description="never shown to a coding agent: graders and what else would tell it the checks"
    )
    components: dict[str, str] = Field({}, description="path glob -> what it is for: the component map of the prompts")

    @property
    def policy(self) -> SourcePolicy:
        """What a change may touch."""
        return SourcePolicy(
            editable=self.editable, protected=self.protected, tests=self.tests, max_diff_lines=self.max_diff_lines
        )


class CheckoutBuild(Frozen):
    kind: Literal["checkout"] = "checkout"
    prepare: tuple[str, ...] = Field(
        (), description="argv run in the tree, e.g. a compile step; no network is promised"
    )
    smoke: tuple[str, ...] = Field((), description="argv that must exit 0 in the built tree")
    seconds: float = Field(300.0, gt=0)


class DockerBuild(Frozen):
    """An image of a Docker Engine, built by BuildKit from the substrate's own Dockerfile (docs/docker.md)."""

    kind: Literal["docker"] = "docker"
    dockerfile: str = Field("Dockerfile", description="relative to the source")
    target: str | None = Field(None, description="the stage that is the agent; None: the last one")
    arguments: dict[str, str] = Field({}, description="build arguments; no secrets, they stay in the image")
    secrets: dict[Word, Secret] = Field({}, description="mounted for RUN --mount=type=secret,id=NAME, never kept")
    network: bool = Field(False, description="whether RUN steps may reach the network, e.g. to install packages")
    smoke: tuple[str, ...] = Field((), description="argv that must exit 0 in a box of the built image")
    seconds: float = Field(900.0, gt=0)
    disk_bytes: int = Field(8 << 30, ge=1 << 24, description="what a build may take of the engine's disk")
    engine: str | None = Field(None, pattern=r"^unix:///", description="the engine's socket; None: the usual one")
    logins: Path | None = Field(None, description="folder with a docker client's config.json, for private base images")


class HealthSettings(Frozen):
    path: str = "/health"
    ready_status: int = 200


class OpenAiTurn(Frozen):
    kind: Literal["openai"] = "openai"
    path: str = "/v1/chat/completions"
    model: str = "default"
    session_header: str = "X-Session-Id"
    headers: dict[str, str] = {}
    key: Secret | None = None
    seconds: float = Field(60.0, gt=0)


class HttpTurn(Frozen):
    """`body` is JSON in which strings "{message}" and "{session}" are replaced as values, never as text."""

    kind: Literal["http"] = "http"
    method: Literal["POST", "PUT"] = "POST"
    path: str
    body: str
    headers: dict[str, str] = {}
    reply_path: str = Field(
        "reply", description="dotted path of the agent's words in the JSON answer; empty: whole body"
    )
    key: Secret | None = None
    seconds: float = Field(60.0, gt=0)


class ExecTurn(Frozen):
    """`argv` words may be {message}, {session}; with `stdin` the message goes there instead."""

    kind: Literal["exec"] = "exec"
    argv: Argv
    stdin: bool = False
    seconds: float = Field(60.0, gt=0)


NO_CANARY = "turn.kind = exec: a command can ask an agent in its box, but not the live one, so no swap could be proven"
NO_CANARY_MEND = 'a [turn] of kind "http" or "openai" in moss.toml'


class CanarySettings(Frozen):
    message: str = "ping"
    contains: str = Field("", description="what the answer must hold; empty: any answer with status 200")
    seconds: float = Field(30.0, gt=0)


class ProcessBoxes(Frozen):
    """Plain processes: they isolate nothing. For a first look and for tests."""

    kind: Literal["process"] = "process"
    parallel: int = Field(2, ge=1, le=64)


class DockerBoxes(Frozen):
    """Containers of a Docker Engine on this machine (docs/docker.md)."""

    kind: Literal["docker"] = "docker"
    parallel: int = Field(2, ge=1, le=64)
    engine: str | None = Field(None, pattern=r"^unix:///", description="the engine's socket; None: the usual one")
    image: str = Field("python:3.11-slim", description="for boxes that need no image of the substrate; has python3")
    user: str | None = Field(
        None,
        pattern=r"^[0-9]{1,9}:[0-9]{1,9}$",
        description="uid:gid in boxes; None: MOSS's own user, or where that is root the image's, else nobody special",
    )


class Upstream(Frozen):
    """Where models answer: a URL, or a scripted model (tests and the demo; called so wherever it shows)."""

    name: Word
    url: str | None = Field(None, pattern=r"^https?://[^\s@]+$")
    script: Path | None = None
    api: Literal["openai", "responses", "anthropic", "gemini", "http"] = "openai"
    key: Secret | None = None
    models: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one(self) -> "Upstream":
        if (self.url is None) == (self.script is None):
            raise ValueError("name either `url` or `script`")
        return self


class GatewaySettings(Frozen):
    host: str = "127.0.0.1"
    port: int = Field(8790, ge=1, le=65535)
    upstreams: tuple[Upstream, ...] = ()
    volatile: tuple[str, ...] = Field((), description="patterns of request lines that never count as a divergence")
    on_divergence: OnDivergence = OnDivergence.LIVE
    prices: Path | None = Field(None, description="TOML of what models cost; its rows go before the built-in ones")

    @property
    def upstream_names(self) -> tuple[str, ...]:
        """What a box may use that is granted all of them."""
        return tuple(upstream.name for upstream in self.upstreams)


class RoleSettings(Frozen):
    """Which program and model works in a role; `default` covers the rest."""

    coder: Word = "scripted"
    upstream: Word | None = Field(None, description="of `gateway.upstreams`; None: any of them")
    model: str | None = None
    script: Path | None = Field(None, description="of the scripted coder")
    seconds: float = Field(1800.0, gt=0)
    money_usd: float = Field(0.25, ge=0, description="reserved for one call")
    tokens: int = Field(50_000, ge=0)


class JurorSettings(Frozen):
    name: Word
    kind: Literal["scripted", "model"] = "scripted"
    script: Path | None = None
    upstream: Word | None = None
    model: str | None = None


class TrialSettings(Frozen):
    seconds: float = Field(120.0, gt=0)
    memory_bytes: int = Field(1 << 30, ge=1 << 24)
    pids: int = Field(256, ge=8)
    seed: Path | None = Field(None, description="state folder every trial starts from")
    files: tuple[str, ...] = Field((), description="state files that checks and the record may hold")
    state_bytes: int = Field(
        1 << 30, ge=1 << 16, description="what a trial may leave in its state for graders; one that leaves more fails"
    )


class Approver(Frozen):
    name: Word
    public_key: str = Field(description="Ed25519, base64 of 32 bytes")
    revoked: bool = False

    @field_validator("public_key")
    @classmethod
    def _is_a_key(cls, public_key: str) -> str:
        raw_key(public_key)
        return public_key


class ConsentSettings(Frozen):
    approvers: tuple[Approver, ...] = ()
    needed: int = Field(1, ge=1)
    valid_hours: float = Field(24.0, gt=0)
    auto: bool = False


class PolicySettings(Frozen):
    start: Literal["by_hand", "auto"] = "by_hand"
    start_hours: tuple[int, int] = Field((0, 24), description="local hours between which runs start by themselves")
    depth: Depth = Depth.STANDARD
    budget: Budget = Budget(money_usd=4.0)
    daily_money_usd: float | None = None
    proposer_may: tuple[Literal["flag", "start", "stop"], ...] = ("flag",)


class SwapSettings(Frozen):
    watch_seconds: float = Field(10.0, ge=0)
    soak_hours: float = Field(24.0, ge=0)
    snapshot_limit_bytes: int = Field(2 << 30, ge=0)
    hold_deadline_seconds: float | None = Field(None, description="None: 2 x grace + start + 30 s")
    hold_waiting: int = Field(1000, ge=1)
    preflight: bool = True
    preflight_watch_seconds: float = Field(10.0, ge=0)


class RetentionSettings(Frozen):
    artifacts_days: float = Field(30.0, gt=0)
    candidates: int = Field(5, ge=1, description="images kept beside what a rollback needs")
    snapshots: int = Field(2, ge=1)
    free_bytes: int = Field(1 << 30, ge=0, description="watermark: checked before a build and before a swap")


class WebhookSettings(Frozen):
    kind: Literal["webhook"] = "webhook"
    url: str = Field(pattern=r"^https?://[^\s@]+$")
    secret: Secret


class ApiSettings(Frozen):
    host: str = "127.0.0.1"
    port: int = Field(8791, ge=1, le=65535)


BuildSettings = Annotated[
    Annotated[CheckoutBuild, Tag("checkout")] | Annotated[DockerBuild, Tag("docker")], kind_or("checkout")
]
BoxesSettings = Annotated[
    Annotated[ProcessBoxes, Tag("process")] | Annotated[DockerBoxes, Tag("docker")], kind_or("process")
]


class Settings(Frozen):
    """All of `moss.toml`. `root` is the folder it stands in, `home` where MOSS keeps its own things."""

    root: Path
    home: Path
    substrate: SubstrateSettings
    build: BuildSettings = CheckoutBuild()
    live: LiveSettings
    health: HealthSettings = HealthSettings()
    turn: Annotated[OpenAiTurn | HttpTurn | ExecTurn, Field(discriminator="kind")] = OpenAiTurn()
    canary: CanarySettings = CanarySettings()
    evidence: EvidenceSettings = EvidenceSettings()
    boxes: BoxesSettings = ProcessBoxes()
    gateway: GatewaySettings = GatewaySettings()
    roles: dict[Literal["default", "locate", "plan", "plan_review", "implement", "code_review"], RoleSettings] = {}
    jurors: tuple[JurorSettings, ...] = ()
    trials: TrialSettings = TrialSettings()
    consent: ConsentSettings = ConsentSettings()
    policy: PolicySettings = PolicySettings()
    swap: SwapSettings = SwapSettings()
    retention: RetentionSettings = RetentionSettings()
    notify: tuple[WebhookSettings, ...] = ()
    api: ApiSettings = ApiSettings()

    @field_validator("consent", mode="after")
    @classmethod
    def _out_of_reach(cls, consent: ConsentSettings, info: ValidationInfo) -> ConsentSettings:
        live = info.data.get("live")
        if consent.auto and isinstance(live, ProcessLive):
            raise ValueError(
                "auto is refused: a live agent that is a process of this host can reach an approver's key and this file"
            )
        return consent

    def role(self, stage: str, coder: str | None = None) -> RoleSettings:
        """Who works in a stage: its own settings, else those of `default`, else the defaults; `coder` wins."""
        roles = {str(name): role for name, role in self.roles.items()}
        role = roles.get(stage) or roles.get("default") or RoleSettings()
        return role.model_copy(update={"coder": coder}) if coder else role

    @property
    def state(self) -> Path | None:
        """The live state where it is a folder of this host by the settings; else `LiveTarget.evidence_root` knows."""
        folder = state_folder(self.live)
        return self.path(folder) if folder is not None else None

    @property
    def session_header(self) -> str:
        """In which header a request names its conversation."""
        turn = self.turn if isinstance(self.turn, OpenAiTurn) else OpenAiTurn()
        return turn.session_header

    def path(self, path: Path) -> Path:
        """A path of `moss.toml`, made absolute."""
        return path if path.is_absolute() else self.root / path
