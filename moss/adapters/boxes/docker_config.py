"""Owns what the engine is told of a box and of a slot: pure values in, the engine's own JSON form out.

Never talks to an engine. Invariant: every box has the whole hardening; nothing of a spec can take any of it away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from moss.dockerd import Config
from moss.errors import BoxRefused
from moss.ports import BoxSpec, MountName, OwnStart

TMP = "/tmp"  # noqa: S108
SLACK = 64 << 20
"""The kernel's bound on one file is above the box's own by this, as with process boxes."""
KEEPER_CAPABILITIES = ("KILL", "SYS_PTRACE", "DAC_OVERRIDE")
"""Over processes and files of its own slot: to end a box of another user, to measure its places, to reach sockets."""
KEEPER_IDLE = 300.0
TREE = "/moss/image"
"""Where an image that is a plain tree is inside, read-only."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image says of itself, as far as a box minds. `tree`: a folder of this host that stands in for one."""

    id: str
    workdir: str
    user: str
    volumes: tuple[str, ...]
    env: Mapping[str, str]
    tree: Path | None = None
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


def place(name: MountName, state: str | None = None) -> str:
    """Where one of the box's places is inside; `state`: where its program wants its state."""
    return state if state is not None and name is MountName.STATE else f"/moss/{name.value}"


def words(tree: str | None, port: int | None, state: str | None = None) -> dict[str, str]:
    """What the placeholders of a spec stand for; `tree`: where the image's source is."""
    known = {name.value: place(name, state) for name in MountName}
    if tree is not None:
        known["image"] = tree
    if port is not None:
        known["port"] = str(port)
    return known


def environment(image: ImageFacts, env: Mapping[str, str], own: OwnStart | None = None) -> dict[str, str]:
    """What a program gets beside what its image sets: nothing of ours."""
    # one that is to be as it is live gets no more than a folder that it may write, since the root is read-only
    base = {"HOME": TMP} | ({} if own else {"LANG": "C.UTF-8", "TMPDIR": TMP, "PYTHONDONTWRITEBYTECODE": "1"})
    return {**{name: value for name, value in base.items() if name not in image.env}, **(own.env if own else {}), **env}


def started(spec: BoxSpec, image: ImageFacts) -> tuple[tuple[str, ...], str]:
    """The words and the folder of the program, placeholders still in them. Raises: BoxRefused when there is none."""
    if spec.own is None:
        return spec.argv, spec.workdir
    own = spec.own
    command = own.command if own.command is not None else image.command
    argv = spec.argv or (*(own.entrypoint if own.entrypoint is not None else image.entrypoint), *command)
    if not argv:
        raise BoxRefused("neither the image nor the live container says what to start (mend: live.argv)")
    return argv, own.workdir or image.workdir


def hardened(spec: BoxSpec, image: ImageFacts, binds: Sequence[str]) -> Config:
    """`HostConfig` of a box, without its namespaces."""
    limits = spec.limits
    size = f"rw,nosuid,nodev,size={limits.disk_bytes},mode=1777"
    covered = {bind.split(":")[1] for bind in binds}
    over = {path: size for path in (TMP, *image.volumes) if path not in covered}
    return {
        "Binds": list(binds),
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "ReadonlyRootfs": True,
        "Tmpfs": over,
        "ShmSize": min(64 << 20, limits.disk_bytes),
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "NanoCpus": int(limits.cpus * 1e9),
        # the keeper ends a box at its own bound and says so; the kernel's stops what is faster than a look
        "PidsLimit": 4 * limits.pids + 64,
        "Ulimits": [
            {"Name": "fsize", "Soft": limits.disk_bytes + SLACK, "Hard": limits.disk_bytes + SLACK},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "LogConfig": log_config(limits.output_bytes),
        "RestartPolicy": {"Name": "no"},
        "IpcMode": "private",
    }


def log_config(output_bytes: int) -> Config:
    """Byte-exact, and bounded by the engine itself, also while nobody reads."""
    size = 4 * output_bytes + (1 << 20)
    return {"Type": "local", "Config": {"max-size": str(size), "max-file": "2", "compress": "false"}}


def box_config(
    spec: BoxSpec,
    image: ImageFacts,
    slot: str,
    user: str,
    binds: Sequence[str],
    labels: Mapping[str, str],
    argv: Sequence[str],
    env: Mapping[str, str],
    workdir: str,
) -> Config:
    """The whole of a box, joined to the namespaces of the container `slot`."""
    host = hardened(spec, image, binds)
    host |= {"NetworkMode": f"container:{slot}", "PidMode": f"container:{slot}"}
    if spec.runtime is not None:
        host["Runtime"] = spec.runtime
    return {
        "Image": image.id,
        "Entrypoint": [argv[0]],
        "Cmd": list(argv[1:]),
        # a name without a value takes away what the image sets
        "Env": [f"{name}={value}" for name, value in env.items()]
        + [name for name in (spec.own.unset if spec.own else ()) if name not in env],
        "User": user,
        "WorkingDir": workdir,
        "Labels": dict(labels),
        "OpenStdin": bool(spec.stdin),
        "StdinOnce": bool(spec.stdin),
        "AttachStdin": bool(spec.stdin),
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        # a health check of the image is the live agent's, not the box's
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
    }


def keeper_config(image: str, labels: Mapping[str, str], port: int, slot: Path, door: Path) -> Config:
    """A slot: no network but loopback, two folders of the home, and just the rights to end what joins it."""
    source = (files("moss.adapters.boxes") / "docker_keeper.py").read_text()
    return {
        "Image": image,
        "Entrypoint": ["python3"],
        "Cmd": ["-I", "-S", "-c", source, str(port), str(KEEPER_IDLE)],
        "Env": [],
        "User": "0:0",
        "WorkingDir": "/",
        "Labels": dict(labels),
        "StopSignal": "SIGTERM",
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "AutoRemove": True,
            "Binds": [f"{slot}:/slot:rw", f"{door}:/door:ro"],
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "CapAdd": list(KEEPER_CAPABILITIES),
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "Memory": 96 << 20,
            "MemorySwap": 96 << 20,
            "PidsLimit": 32,
            "LogConfig": log_config(64 << 10),
            "RestartPolicy": {"Name": "no"},
        },
    }
